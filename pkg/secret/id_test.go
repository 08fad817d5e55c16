package secret_test

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// seven is 2026-11-22T07:00:00Z with the random bytes 1 to 6.
var seven = secret.ID{0x6b, 0x02, 0x92, 0xf0, 1, 2, 3, 4, 5, 6}

func TestIDText(t *testing.T) {
	// The texts were made by another program.
	tests := map[string]secret.ID{
		"0000000000000000": {},
		"zzzzzzzzzzzzzzzz": {255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
		"dc195w01081g8186": seven,
		"208h44rm2mb1e60s": {0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19},
	}
	for text, id := range tests {
		if got := id.String(); got != text {
			t.Errorf("%x is %s, not %s", [10]byte(id), got, text)
		}
		got, err := secret.ParseID(text)
		if err != nil || got != id {
			t.Errorf("ParseID(%s) = %x, %v", text, [10]byte(got), err)
		}
		if got := string(id.AppendTo([]byte("before "))); got != "before "+text {
			t.Errorf("AppendTo: %s", got)
		}
	}
}

func TestParseIDRefuses(t *testing.T) {
	const good = "dc195w01081g8186"
	tests := []string{
		"", good[1:], good + "0", good + " ", " " + good, good + "\n", good[:15], good[:15] + " ",
		strings.ToUpper(good), "Dc195w01081g8186",
		"ic195w01081g8186", "lc195w01081g8186", "oc195w01081g8186", "uc195w01081g8186", // not in the alphabet
		"dc195w01081g818=", "dc195w01081g818-", "dc195w01081g818\x00", "dc195w01081g81é", "dc195w01081g818é",
		"dc19-5w01-081g-8",
	}
	for _, text := range tests {
		if _, err := secret.ParseID(text); !errors.Is(err, secret.ErrMalformed) {
			t.Errorf("ParseID(%q): %v", text, err)
		}
	}
}

func TestNewIDTime(t *testing.T) {
	tests := []struct {
		now  time.Time
		want int64
	}{
		{time.Date(2026, 11, 22, 8, 0, 0, 999, time.FixedZone("", 3600)), 1795330800},
		{time.Unix(0, 0), 0},
		{time.Unix(-1, 0), 0},
		{time.Time{}, 0},
		{time.Unix(math.MaxUint32, 0), math.MaxUint32},
		{time.Unix(math.MaxUint32+1, 0), math.MaxUint32},
		{time.Unix(1<<62, 0), math.MaxUint32},
	}
	for _, test := range tests {
		got := secret.NewID(test.now).Time()
		if got.Unix() != test.want || got.Location() != time.UTC {
			t.Errorf("NewID(%v).Time() = %v", test.now, got)
		}
	}
	if got := seven.Time().Format(time.RFC3339); got != "2026-11-22T07:00:00Z" {
		t.Error(got)
	}
}

func TestIDsSortByTime(t *testing.T) {
	var ids []secret.ID
	for i := range 1000 {
		ids = append(ids, secret.NewID(time.Unix(int64(i)*4_000_037, 0)))
	}
	if !slices.IsSortedFunc(ids, secret.ID.Compare) {
		t.Error("bytes do not sort by time")
	}
	if !slices.IsSortedFunc(ids, func(a, b secret.ID) int { return strings.Compare(a.String(), b.String()) }) {
		t.Error("texts do not sort by time")
	}
	if seven.Compare(seven) != 0 || seven.Compare(secret.ID{}) != 1 || (secret.ID{}).Compare(seven) != -1 {
		t.Error("Compare")
	}
}

func TestIDsDiffer(t *testing.T) {
	now := time.Now()
	seen := map[secret.ID]bool{}
	for range 10000 {
		seen[secret.NewID(now)] = true
	}
	if len(seen) != 10000 {
		t.Errorf("%d ids of 10000", len(seen))
	}
}

func TestIDMarshals(t *testing.T) {
	type record struct {
		ID   secret.ID
		ByID map[secret.ID]int
	}
	in := record{seven, map[secret.ID]int{seven: 1}}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"ID":"dc195w01081g8186","ByID":{"dc195w01081g8186":1}}` {
		t.Fatal(string(text), err)
	}
	var out record
	if err := json.Unmarshal(text, &out); err != nil || out.ID != seven || out.ByID[seven] != 1 {
		t.Error(out, err)
	}
	kept := seven
	if err := kept.UnmarshalText([]byte("DC195W01081G8186")); !errors.Is(err, secret.ErrMalformed) || kept != seven {
		t.Error(kept, err)
	}
	if !(secret.ID{}).IsZero() || seven.IsZero() {
		t.Error("IsZero")
	}
}

func TestLooksLikeID(t *testing.T) {
	for text, want := range map[string]bool{
		"dc195w01081g8186":  true,
		"DC195W01081G8186":  true,
		"abcdefghjkmnpqrs":  true,
		"dc195w01081g818":   false,
		"dc195w01081g81860": false,
		"dc195w01081g818u":  false,
		"dc195w01081g818I":  false,
		"build-pipeline-1":  false,
		"dc195w01081g818@":  false, // one below A
		"dc195w01081g818[":  false, // one above Z
		"":                  false,
	} {
		if got := secret.LooksLikeID(text); got != want {
			t.Errorf("LooksLikeID(%q) = %v", text, got)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, seed := range []string{"dc195w01081g8186", "zzzzzzzzzzzzzzzz", "DC195W01081G8186", "", "dc195w01081g818é", "0000000000000000x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := secret.ParseID(text)
		switch {
		case err == nil && (id.String() != text || !secret.LooksLikeID(text)):
			t.Errorf("ParseID(%q) = %s", text, id)
		case err != nil && !errors.Is(err, secret.ErrMalformed):
			t.Error(err)
		case err != nil && secret.LooksLikeID(text) && strings.ToLower(text) == text:
			t.Errorf("ParseID(%q): %v", text, err)
		}
	})
}
