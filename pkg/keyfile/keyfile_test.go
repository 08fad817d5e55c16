package keyfile_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
)

var start = time.Date(2026, 11, 22, 7, 0, 0, 0, time.UTC)

// golden is a key file. Its sum, and what the tests expect to be derived from
// it, were made by another program.
const golden = `# tokenctl key file: without it the database beside it cannot verify a token or sign one.
# Keep a copy, apart from backups of the database.
tokenctl-keys 1
key 1 2026-11-22T07:00:00Z AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
key 7 2027-01-01T00:00:00Z __79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA
sum 7604a93b
`

func openGolden(t testing.TB) *keyfile.Keys {
	t.Helper()
	k, err := keyfile.Open(writeFile(t, golden))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// writeFile makes a file of mode 0600 in a folder of its own.
func writeFile(t testing.TB, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGoldenFile(t *testing.T) {
	k := openGolden(t)
	want := []keyfile.Info{
		{Number: 1, CreatedAt: start},
		{Number: 7, CreatedAt: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Current: true},
	}
	if got := k.Numbers(); !slices.Equal(got, want) {
		t.Errorf("Numbers: %v", got)
	}
	if got := k.Hashing().Current(); got != 7 {
		t.Errorf("current is %d", got)
	}
	mac, err := k.MAC("audit", 1)
	if err != nil {
		t.Fatal(err)
	}
	sum := mac([]byte("one"), nil, []byte("two"))
	plain, err := k.Unseal("signing", unhex(t, "0107000102030405060708090a0b5419a256fd86468967fb6939904a93cf9166f0d0e9be8338ea33cd02e0"), []byte("kid"))
	if err != nil {
		t.Error(err)
	}
	verifier := secret.NewHasher(k.Hashing(), secret.HasherOptions{}).Fast(secret.Use{Kind: "user"},
		secret.FromText("tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"))
	for got, want := range map[string]string{
		hex.EncodeToString(k.Fingerprint(1)): "1607ee15ab3f5088303bde273070cb6f",
		hex.EncodeToString(k.Fingerprint(7)): "774dd828f002af4d616f889d93c753c8",
		hex.EncodeToString(sum[:]):           "4b67862b9d49df6e5012b2ffc9164a5217d647056697fed9e1b53a8a3dd2c976",
		hex.EncodeToString(verifier):         "0107" + "ddd9fbccbd3898266699570fa7793f12fff20d4e91e4818d0fb85425d9020cb8",
		string(plain):                        "a private key",
	} {
		if got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestNewIsInMemory(t *testing.T) {
	k := keyfile.New(start.Add(999 * time.Millisecond).In(time.FixedZone("", 3600)))
	if got := k.Numbers(); len(got) != 1 || got[0] != (keyfile.Info{Number: 1, CreatedAt: start, Current: true}) {
		t.Errorf("Numbers: %v", got)
	}
	if k.Path() != "" {
		t.Error(k.Path())
	}
	if number, err := k.Add(start); number != 2 || err != nil {
		t.Errorf("Add: %d, %v", number, err)
	}
	if changed, err := k.Reload(); changed || err != nil {
		t.Errorf("Reload: %v, %v", changed, err)
	}
	if err := k.Drop(1); err != nil || len(k.Numbers()) != 1 {
		t.Errorf("Drop: %v", err)
	}
	if bytes.Equal(keyfile.New(start).Fingerprint(1), keyfile.New(start).Fingerprint(1)) {
		t.Error("two new keys are the same")
	}
}

// TestRotation is what a key file is for: what an old key made goes on to be
// checked and opened until the key is dropped.
func TestRotation(t *testing.T) {
	k := keyfile.New(start)
	h := secret.NewHasher(k.Hashing(), secret.HasherOptions{})
	use, s := secret.Use{Kind: "user"}, secret.New(secret.Passcode, secret.NewID(start))
	v, sealed, print := h.Fast(use, s), k.Seal("p", []byte("text"), nil), k.Fingerprint(1)

	if _, err := k.Add(start); err != nil {
		t.Fatal(err)
	}
	h.SetKeys(k.Hashing())
	if got, err := h.Check(t.Context(), use, s, v); err != nil || got != (secret.Result{OK: true, Outdated: true}) {
		t.Errorf("Check: %+v, %v", got, err)
	}
	if plain, err := k.Unseal("p", sealed, nil); err != nil || string(plain) != "text" {
		t.Errorf("Unseal: %q, %v", plain, err)
	}
	if resealed := k.Seal("p", []byte("text"), nil); resealed[1] != 2 {
		t.Errorf("sealed with key %d", resealed[1])
	}
	if !bytes.Equal(k.Fingerprint(1), print) || bytes.Equal(k.Fingerprint(2), print) {
		t.Error("fingerprints")
	}

	if err := k.Drop(1); err != nil {
		t.Fatal(err)
	}
	h.SetKeys(k.Hashing())
	if _, err := h.Check(t.Context(), use, s, v); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("Check: %v", err)
	}
	if _, err := k.Unseal("p", sealed, nil); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("Unseal: %v", err)
	}
	if _, err := k.MAC("p", 1); !errors.Is(err, secret.ErrUnknownKey) {
		t.Errorf("MAC: %v", err)
	}
	if k.Fingerprint(1) != nil || k.Fingerprint(0) != nil {
		t.Error("fingerprint of no key")
	}
	if number, err := k.Add(start); number != 3 || err != nil {
		t.Errorf("Add: %d, %v: a number came back", number, err)
	}
}

func TestDropRefuses(t *testing.T) {
	k := openGolden(t)
	for number, want := range map[uint32]error{7: keyfile.ErrCurrent, 0: secret.ErrUnknownKey, 2: secret.ErrUnknownKey, 8: secret.ErrUnknownKey} {
		if err := k.Drop(number); !errors.Is(err, want) {
			t.Errorf("Drop(%d): %v", number, err)
		}
	}
	if got := k.Numbers(); len(got) != 2 {
		t.Errorf("Numbers: %v", got)
	}
	if text, err := os.ReadFile(k.Path()); err != nil || string(text) != golden {
		t.Errorf("the file has changed: %s, %v", text, err)
	}
}

func TestSeal(t *testing.T) {
	k := openGolden(t)
	for _, plain := range []string{"", "x", strings.Repeat("long", 10000)} {
		sealed := k.Seal("p", []byte(plain), []byte("about"))
		if got, err := k.Unseal("p", sealed, []byte("about")); err != nil || string(got) != plain {
			t.Errorf("Unseal: %q, %v", got, err)
		}
		if bytes.Equal(sealed, k.Seal("p", []byte(plain), []byte("about"))) {
			t.Error("two sealed texts are the same")
		}
		if len(plain) > 3 && bytes.Contains(sealed, []byte("long")) {
			t.Error("not encrypted")
		}
	}
	sealed := k.Seal("p", []byte("text"), []byte("about"))
	refused := func(what, purpose string, sealed []byte, additional string) {
		t.Helper()
		got, err := k.Unseal(purpose, sealed, []byte(additional))
		if got != nil || !errors.Is(err, keyfile.ErrSealed) && !errors.Is(err, secret.ErrUnknownKey) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	refused("other purpose", "q", sealed, "about")
	refused("other data", "p", sealed, "abouT")
	refused("no data", "p", sealed, "")
	for bit := range len(sealed) * 8 {
		changed := bytes.Clone(sealed)
		changed[bit/8] ^= 1 << (bit % 8)
		refused(fmt.Sprint("bit ", bit), "p", changed, "about")
	}
	for cut := range sealed {
		refused(fmt.Sprint("cut at ", cut), "p", sealed[:cut], "about")
	}
	refused("longer", "p", append(bytes.Clone(sealed), 0), "about")
	refused("number not the shortest", "p", slices.Concat([]byte{1, 0x87, 0}, sealed[2:]), "about")
	refused("number that wraps", "p", slices.Concat([]byte{1, 0x87, 0x80, 0x80, 0x80, 0x10}, sealed[2:]), "about")
	// The border between header and data is not to be moved.
	refused("number in the data", "p", sealed, "\x07about")
}

func TestMAC(t *testing.T) {
	k := openGolden(t)
	sum := func(purpose string, number uint32, parts ...string) string {
		mac, err := k.MAC(purpose, number)
		if err != nil {
			t.Fatal(err)
		}
		var b [][]byte
		for _, part := range parts {
			b = append(b, []byte(part))
		}
		first := mac(b...)
		if again := mac(b...); first != again {
			t.Error("called again it gives something else")
		}
		return string(first[:])
	}
	seen := map[string]string{}
	for name, got := range map[string]string{
		"ab c":          sum("p", 7, "ab", "c"),
		"a bc":          sum("p", 7, "a", "bc"),
		"abc":           sum("p", 7, "abc"),
		"abc _":         sum("p", 7, "abc", ""),
		"nothing":       sum("p", 7),
		"empty":         sum("p", 7, ""),
		"other key":     sum("p", 1, "abc"),
		"other purpose": sum("q", 7, "abc"),
		"no purpose":    sum("", 7, "abc"),
	} {
		if seen[got] != "" {
			t.Errorf("%s and %s have the same MAC", name, seen[got])
		}
		seen[got] = name
	}
	if sum("p", 0, "abc") != sum("p", 7, "abc") {
		t.Error("0 is not the current key")
	}
}

func TestNothingPrintsAKey(t *testing.T) {
	k := openGolden(t)
	for _, flags := range []string{"", "+", "#"} {
		for verb := 'A'; verb <= 'z'; verb++ {
			format := "%" + flags + string(verb)
			printed := fmt.Sprintf(format, k) + fmt.Sprintf(format, struct{ k *keyfile.Keys }{k}) + fmt.Sprintf(format, k.Hashing())
			for _, part := range []string{"0 1 2 3 4", "0x0, 0x1, 0x2", "00010203", "AAECAw"} {
				if strings.Contains(printed, part) {
					t.Errorf("%s: %s", format, printed)
				}
			}
		}
	}
}
