package secret_test

import (
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// A tagged secret is one of its form, and known again for its use alone, also
// after the key that tagged it was replaced.
func TestTagged(t *testing.T) {
	key := func(b byte) []byte {
		k := make([]byte, 32)
		k[0] = b
		return k
	}
	keys := func(current uint32, all map[uint32][]byte) *secret.Keys {
		k, err := secret.NewKeys(current, all)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	one := map[uint32][]byte{1: key(1)}
	h := secret.NewHasher(keys(1, one), secret.HasherOptions{})
	id := secret.NewID(time.Now())
	use := secret.Use{Kind: "family", ID: id, Name: "a"}
	seen := map[string]bool{}
	for range 1000 {
		s := h.NewTagged(secret.RefreshToken, use)
		if text, err := secret.Parse(s.Reveal()); err != nil || text.ID != id || text.Form != secret.RefreshToken {
			t.Fatalf("%v: %v", text, err)
		}
		if !h.Tagged(use, s) || h.Tagged(secret.Use{Kind: "family", ID: id, Name: "b"}, s) || seen[s.Reveal()] {
			t.Fatal("it is not known again, or for another use, or came twice")
		}
		if h.Tagged(use, secret.New(secret.RefreshToken, id)) {
			t.Fatal("one that was never tagged is known")
		}
		seen[s.Reveal()] = true
	}
	s := h.NewTagged(secret.RefreshToken, use)
	h.SetKeys(keys(2, map[uint32][]byte{1: key(1), 2: key(2)}))
	if !h.Tagged(use, s) {
		t.Error("after a rotation of the key file it is not known")
	}
	if secret.NewHasher(keys(1, map[uint32][]byte{1: key(3)}), secret.HasherOptions{}).Tagged(use, s) {
		t.Error("another key knows it")
	}
	if h.Tagged(use, secret.FromText("short")) {
		t.Error("a short text is known")
	}
}
