package terminal

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestHandover(t *testing.T) {
	h := newHandover("tkp_secret", DefaultClearAfter)
	raw := h.bytes()
	if bytes.Contains(raw, []byte("secret")) {
		t.Fatalf("the value is handed over: %q", raw)
	}
	got, err := readHandover(bytes.NewReader(raw))
	if err != nil || got.after != DefaultClearAfter {
		t.Fatalf("%v, %v", got.after, err)
	}
	for value, want := range map[string]bool{"tkp_secret": true, "tkp_secret\n": false, "tkp_secre": false, "": false} {
		if got.recognises(value) != want {
			t.Errorf("recognises(%q) = %v", value, !want)
		}
	}
	if again := newHandover("tkp_secret", DefaultClearAfter); again.key == h.key || again.sum == h.sum {
		t.Error("the same key twice")
	}
}

func TestClearerToldNonsenseEnds(t *testing.T) {
	good := string(newHandover("x", time.Hour).bytes())
	for name, in := range map[string]string{
		"nothing": "", "the parent died": good[:40], "dismissed": good + "\x00",
		"negative": strings.Repeat("\xff", handoverSize),
	} {
		if code := RunClearer(strings.NewReader(in)); code != 2 {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}

func FuzzReadHandover(f *testing.F) {
	f.Add(newHandover("x", time.Second).bytes())
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := readHandover(bytes.NewReader(in))
		if err == nil && (!bytes.Equal(h.bytes(), in) || h.after < 0) {
			t.Fatalf("%x read as %v, %x", in, h.after, h.bytes())
		}
	})
}
