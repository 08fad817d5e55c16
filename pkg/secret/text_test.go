package secret_test

import (
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

var prefixedForms = []secret.Form{secret.Passcode, secret.RefreshToken, secret.StrongPassword, secret.ClientSecret}

func TestParse(t *testing.T) {
	// The texts, with their CRC-32, were made by another program. The last
	// one's checksum begins with zeros.
	tests := []struct {
		text string
		form secret.Form
		id   secret.ID
	}{
		{"tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4", secret.Passcode, seven},
		{"tkr_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV2ysIPz", secret.RefreshToken, seven},
		{"tks_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV0i9PJS", secret.StrongPassword, seven},
		{"tkc_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV09zvPr", secret.ClientSecret, seven},
		{"tkp_0000000000000000abcdefghijklmnopqrstuvwxyzABCDEF2zRY3z", secret.Passcode, secret.ID{}},
		{"tkp_dc195w01081g8186000000000000000000000000000000460041AI", secret.Passcode, seven},
	}
	for _, test := range tests {
		got, err := secret.Parse(test.text)
		if err != nil || got.Form != test.form || got.ID != test.id || got.Secret.Reveal() != test.text {
			t.Errorf("Parse(%s) = %+v, %v", test.text, got, err)
		}
	}
}

func TestNewParses(t *testing.T) {
	shape := regexp.MustCompile(`^tk[cprs]_[0-9a-hjkmnp-tv-z]{16}[0-9A-Za-z]{38}$`)
	seen := map[string]bool{}
	for range 1000 {
		for _, form := range prefixedForms {
			id := secret.NewID(time.Now())
			text := secret.New(form, id).Reveal()
			got, err := secret.Parse(text)
			if err != nil || got.Form != form || got.ID != id || !shape.MatchString(text) {
				t.Fatalf("%s: %+v, %v", text, got, err)
			}
			seen[text[20:52]] = true
		}
		for form, length := range map[secret.Form]int{secret.Plain08: 8, secret.Plain15: 15} {
			text := secret.New(form, seven).Reveal()
			got, err := secret.ParsePlain(form, text)
			if err != nil || got.Reveal() != text || len(text) != length || strings.Trim(text, base62) != "" {
				t.Fatalf("%s: %v", text, err)
			}
			seen[text] = true
		}
	}
	if len(seen) != 6000 {
		t.Errorf("%d different secrets of 6000", len(seen))
	}
}

// TestNoCharacterIsFavoured would see the remainder of a random byte by 62:
// its χ² is about 470 here, where 61 ± 11 is fair and 160 has a probability
// of 10^-10.
func TestNoCharacterIsFavoured(t *testing.T) {
	const samples = 62 * 1000
	for form, length := range map[secret.Form]int{secret.Plain08: 8, secret.Plain15: 15} {
		counts := make([][256]int, length)
		for range samples {
			for at, c := range []byte(secret.New(form, secret.ID{}).Reveal()) {
				counts[at][c]++
			}
		}
		for at := range counts {
			chi := 0.0
			for _, c := range []byte(base62) {
				deviation := float64(counts[at][c]) - samples/62
				chi += deviation * deviation / (samples / 62)
			}
			if chi > 160 {
				t.Errorf("%s, position %d: χ² is %.0f", form, at, chi)
			}
		}
	}
}

func TestEveryChangeIsMalformed(t *testing.T) {
	for _, form := range prefixedForms {
		text := secret.New(form, secret.NewID(time.Now())).Reveal()
		refuse := func(changed, how string) {
			t.Helper()
			if changed == text {
				return
			}
			if got, err := secret.Parse(changed); !errors.Is(err, secret.ErrMalformed) || !got.Secret.IsZero() {
				t.Errorf("%s: %q: %v", how, changed, err)
			}
		}
		for at := range len(text) {
			for c := range 256 {
				refuse(text[:at]+string([]byte{byte(c)})+text[at+1:], "one byte changed")
			}
			refuse(text[:at], "cut off")
			refuse(text[at+1:], "beginning cut off")
			refuse(text[:at]+text[at+1:], "one byte left out")
			refuse(text[:at]+text[at:at+1]+text[at:], "one byte doubled")
			if at > 0 && text[at] != text[at-1] {
				refuse(text[:at-1]+text[at:at+1]+text[at-1:at]+text[at+1:], "two swapped")
			}
		}
		refuse(strings.ToUpper(text), "upper case")
		refuse(strings.ToLower(text), "lower case")
		for _, pad := range []string{" ", "\n", "\r\n", "\t", "\x00", "=", "0", "\ufeff", "\u200b", "%20", `"`} {
			refuse(text+pad, "padded")
			refuse(pad+text, "padded")
			refuse(text[:20]+pad+text[20:], "padded inside")
		}
		refuse(text+text, "twice")
	}
	if _, err := secret.Parse(""); !errors.Is(err, secret.ErrMalformed) {
		t.Error(err)
	}
}

func TestParseReasons(t *testing.T) {
	const good = "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"
	for text, reason := range map[string]string{
		"x" + good[1:]:                     "begins with",
		"TKP_":                             "begins with",
		good + "x":                         "length",
		good[:57]:                          "length",
		strings.Replace(good, "w", "u", 1): "character",
		strings.Replace(good, "w", "W", 1): "character",
		strings.Replace(good, "S", "-", 1): "character",
		strings.Replace(good, "S", "s", 1): "checksum",
		strings.Replace(good, "k", "r", 1): "begins with",
		"tkr" + good[3:]:                   "checksum",
	} {
		if _, err := secret.Parse(text); err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("Parse(%s): %v, not %s", text, err, reason)
		}
	}
}

func TestParsePlain(t *testing.T) {
	tests := []struct {
		form secret.Form
		text string
		ok   bool
	}{
		{secret.Plain08, "aZ09bY18", true},
		{secret.Plain08, "aZ09bY1", false},
		{secret.Plain08, "aZ09bY18c", false},
		{secret.Plain08, "aZ09bY18 ", false},
		{secret.Plain08, " Z09bY18", false},
		{secret.Plain08, "aZ09bY1\n", false},
		{secret.Plain08, "aZ09bY1_", false},
		{secret.Plain08, "aZ09bY1\x00", false},
		{secret.Plain08, "aZ09bYé", false}, // 8 bytes
		{secret.Plain08, "aZ09bYéé", false},
		{secret.Plain08, "", false},
		{secret.Plain08, "aZ09bY18aZ09bY1", false},
		{secret.Plain15, "aZ09bY18aZ09bY1", true},
		{secret.Plain15, "aZ09bY18", false},
		{secret.Plain15, "aZ09bY18aZ09bY/", false},
		{secret.Plain15, "aZ09bY18aZ09bY18", false},
		{secret.Passcode, "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4", false},
		{0, "", false},
		{99, "aZ09bY18", false},
	}
	for _, test := range tests {
		got, err := secret.ParsePlain(test.form, test.text)
		if test.ok != (err == nil) || test.ok && got.Reveal() != test.text || !test.ok && (!got.IsZero() || !errors.Is(err, secret.ErrMalformed)) {
			t.Errorf("ParsePlain(%s, %q): %v", test.form, test.text, err)
		}
	}
}

func TestContains(t *testing.T) {
	const good = "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"
	tests := []struct {
		arg  string
		want bool
	}{
		{good, true},
		{"--passcode=" + good, true},
		{"https://dc195w01081g8186:" + good + "@host/", true},
		{good + "x", true},
		{"tk" + good, true},
		{"tktkp_" + good + "tkp_", true},
		{strings.Repeat("tkp_", 30) + good, true},
		{good[:57] + good, true},
		{strings.Replace(good, "S", "s", 1) + good, true},
		{good[:57], false},
		{strings.Replace(good, "S", "s", 1), false},
		{strings.ToUpper(good), false},
		{good[1:], false},
		{strings.Repeat("tkp_", 30), false},
		{"", false},
		{"a name", false},
	}
	for _, test := range tests {
		if got := secret.Contains(test.arg); got != test.want {
			t.Errorf("Contains(%q) = %v", test.arg, got)
		}
	}
}

func TestForms(t *testing.T) {
	for form, want := range map[secret.Form]string{
		secret.Passcode:       "passcode 190.5",
		secret.RefreshToken:   "refresh token 190.5",
		secret.StrongPassword: "strong password 190.5",
		secret.Plain08:        "plain08 47.6",
		secret.Plain15:        "plain15 89.3",
		0:                     "form 0 0.0",
		secret.ClientSecret:   "client secret 190.5",
		7:                     "form 7 0.0",
		255:                   "form 255 0.0",
	} {
		if got := fmt.Sprintf("%s %.1f", form, math.Round(form.Bits()*10)/10); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	for _, form := range []secret.Form{0, 7} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("New(%d) does not panic", form)
				}
			}()
			secret.New(form, seven)
		}()
	}
}

// TestRandomnessIsCryptographic keeps math/rand out of this package.
func TestRandomnessIsCryptographic(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	cryptographic := false
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			cryptographic = cryptographic || path == "crypto/rand"
			if strings.HasPrefix(path, "math/rand") || strings.Contains(path, "/exp/rand") {
				t.Errorf("%s imports %s", entry.Name(), path)
			}
		}
	}
	if !cryptographic {
		t.Error("nothing imports crypto/rand: is this the right folder?")
	}
}

func FuzzParse(f *testing.F) {
	const good = "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"
	for _, seed := range []string{good, good[:57], "tkr_", "tk", "", strings.ToUpper(good), good + "\n", "tks_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV0i9PJS"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := secret.Parse(text)
		if err != nil {
			if !errors.Is(err, secret.ErrMalformed) || !got.Secret.IsZero() {
				t.Errorf("%+v, %v", got, err)
			}
			return
		}
		if got.Secret.Reveal() != text || len(text) != 58 || text[4:20] != got.ID.String() || !strings.HasPrefix(text, "tk") {
			t.Errorf("Parse(%q) = %+v", text, got)
		}
	})
}

func FuzzParsePlain(f *testing.F) {
	for _, seed := range []string{"aZ09bY18", "aZ09bY18aZ09bY1", "", "aZ09bYé", "aZ09bY1\n"} {
		f.Add(seed)
	}
	shapes := map[secret.Form]*regexp.Regexp{
		secret.Plain08: regexp.MustCompile(`\A[0-9A-Za-z]{8}\z`),
		secret.Plain15: regexp.MustCompile(`\A[0-9A-Za-z]{15}\z`),
	}
	f.Fuzz(func(t *testing.T, text string) {
		for form, shape := range shapes {
			got, err := secret.ParsePlain(form, text)
			if (err == nil) != shape.MatchString(text) || err == nil && got.Reveal() != text {
				t.Errorf("ParsePlain(%s, %q): %v", form, text, err)
			}
		}
	})
}

// FuzzContains compares with the plain way to do it.
func FuzzContains(f *testing.F) {
	const good = "tkp_dc195w01081g81860123456789ABCDEFGHIJKLMNOPQRSTUV259kY4"
	f.Add("", "")
	f.Add("--x=tk", "tkp_")
	f.Add(good[:20], good[20:])
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, arg := range []string{before + after, before + good + after, before + good[:57] + after} {
			want := false
			for at := 0; at+58 <= len(arg); at++ {
				_, err := secret.Parse(arg[at : at+58])
				want = want || err == nil
			}
			if got := secret.Contains(arg); got != want {
				t.Errorf("Contains(%q) = %v", arg, got)
			}
		}
	})
}
