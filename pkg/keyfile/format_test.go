package keyfile_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/keyfile"
)

// quotes reports whether an error holds a part of golden's keys.
func quotes(err error) bool {
	return strings.Contains(err.Error(), "CAwQF") || strings.Contains(err.Error(), "Pv6-f")
}

func TestEveryChangeOfTheFileIsSeen(t *testing.T) {
	check := func(how, text string) {
		t.Helper()
		_, err := keyfile.ParseFile([]byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), "line ") || quotes(err) {
			t.Errorf("%s: %v", how, err)
		}
	}
	if rendered, err := keyfile.ParseFile([]byte(golden)); err != nil || string(rendered) != golden {
		t.Fatalf("%s, %v", rendered, err)
	}
	for at := range len(golden) - 1 { // its last line may do without an end
		for _, change := range []byte{1, 2, 0x20, 0x80} {
			changed := []byte(golden)
			changed[at] ^= change
			check(fmt.Sprintf("byte %d, %d", at, change), string(changed))
		}
		check(fmt.Sprint("cut at ", at), golden[:at])
		check(fmt.Sprint("left out ", at), golden[:at]+golden[at+1:])
	}
	check("doubled", golden+golden)
	check("end doubled", golden+"\n")
	check("line ends", strings.ReplaceAll(golden, "\n", "\r\n"))
}

// withSum makes the last line, so that the lines before it are what is wrong.
func withSum(lines ...string) string {
	text := strings.Join(lines, "\n") + "\n"
	return text + fmt.Sprintf("sum %08x\n", crc32.Checksum([]byte(text), crc32.MakeTable(crc32.Castagnoli)))
}

func TestGarbled(t *testing.T) {
	const format = "tokenctl-keys 1"
	const key1 = "key 1 2026-11-22T07:00:00Z AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	const key7 = "key 7 2027-01-01T00:00:00Z __79_Pv6-fj39vX08_Lx8O_u7ezr6uno5-bl5OPi4eA"
	changed := func(from, to string) string { return withSum(format, strings.Replace(key1, from, to, 1), key7) }
	tests := []struct{ name, text, want string }{
		{"empty", "", "line 1: the sum should follow"},
		{"empty line", "\n", "line 1: the sum should follow"},
		{"no format", withSum(key1), "line 1: \"tokenctl-keys 1\" should be the first"},
		{"newer", withSum("# text", "tokenctl-keys 2", key1), "line 2: a format that only a newer tokenctl may know"},
		{"format twice", withSum(format, format, key1), "line 2: neither"},
		{"no key", withSum(format), "line 2: no key"},
		{"no sum", format + "\n" + key1 + "\n", "line 2: the sum should follow"},
		{"something after", withSum(format, key1) + "# more\n", "line 4: nothing may follow"},
		{"another key after", withSum(format, key1) + key7 + "\n", "line 4: nothing may follow"},
		{"wrong sum", strings.Replace(golden, "7604a93b", "7604a93c", 1), "line 6: the sum does not match"},
		{"upper case sum", strings.Replace(golden, "7604a93b", "7604A93B", 1), "line 6: the sum does not match"},
		{"comment changed", strings.Replace(golden, "Keep", "keep", 1), "line 6: the sum does not match"},
		{"unknown line", withSum(format, "lock 1", key1), "line 2: neither"},
		{"descending", withSum(format, key7, key1), "line 3: the numbers of the keys do not ascend"},
		{"twice", withSum(format, key1, key1), "line 3: the numbers of the keys do not ascend"},
		{"number 0", changed("key 1", "key 0"), "line 2: not a number"},
		{"number 01", changed("key 1", "key 01"), "line 2: not a number"},
		{"number +1", changed("key 1", "key +1"), "line 2: not a number"},
		{"number of 33 bits", changed("key 1", "key 4294967296"), "line 2: not a number"},
		{"no number", changed("key 1", "key x"), "line 2: not a number"},
		{"two spaces", changed("key 1", "key  1"), "line 2: a key has"},
		{"space at the end", withSum(format, key1+" "), "line 2: a key has"},
		{"no key text", changed(" AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", ""), "line 2: a key has"},
		{"other zone", changed("Z", "+01:00"), "line 2: not a time"},
		{"fraction", changed("00Z", "00.5Z"), "line 2: not a time"},
		{"no such day", changed("-22", "-31"), "line 2: not a time"},
		{"short key", changed("Hh8", "H"), "line 2: not a key"},
		{"long key", changed("Hh8", "Hh8A"), "line 2: not a key"},
		{"padded key", changed("Hh8", "Hh8="), "line 2: not a key"},
		{"other last bits", changed("Hh8", "Hh9"), "line 2: not a key"},
		{"standard alphabet", withSum(format, strings.Replace(key7, "__7", "//7", 1)), "line 2: not a key"},
		{"line end in the key", withSum(format, key1+"\r"), "line 2: not a key"},
		{"byte order mark", "\ufeff" + golden, "line 1: "},
	}
	for _, test := range tests {
		path := writeFile(t, test.text)
		_, err := keyfile.Open(path)
		if !errors.Is(err, keyfile.ErrGarbled) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) || quotes(err) {
			t.Errorf("%s: %v", test.name, err)
		}
		// Nor is it replaced.
		if _, err := keyfile.Create(path, start); !errors.Is(err, keyfile.ErrGarbled) {
			t.Errorf("%s: Create: %v", test.name, err)
		}
		if text, err := os.ReadFile(path); err != nil || string(text) != test.text {
			t.Errorf("%s: the file is now %q, %v", test.name, text, err)
		}
	}
	for name, text := range map[string]string{
		"other comments": withSum("# mine", "", format, "#", key1, "", "# and this", key7),
		"no line end":    strings.TrimSuffix(golden, "\n"),
	} {
		if k, err := keyfile.Open(writeFile(t, text)); err != nil || k.Hashing().Current() != 7 {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := withSum(strings.Repeat("# large\n", 1<<17), format, key1)
	if _, err := keyfile.Open(writeFile(t, large)); !errors.Is(err, keyfile.ErrGarbled) || !strings.Contains(err.Error(), "too large") {
		t.Errorf("a large file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(golden))
	f.Add([]byte(withSum("tokenctl-keys 1", "key 1 2026-11-22T07:00:00Z AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")))
	f.Add([]byte("tokenctl-keys 1\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		// As it is, and with the right sum, which a fuzzer will not find.
		for _, text := range [][]byte{data, []byte(withSum(string(data)))} {
			rendered, err := keyfile.ParseFile(text)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "line ") {
					t.Errorf("%q: %v", text, err)
				}
				continue
			}
			again, err := keyfile.ParseFile(rendered)
			if err != nil || !bytes.Equal(again, rendered) {
				t.Errorf("%q was read, and written as %q: %v", text, rendered, err)
			}
		}
	})
}
