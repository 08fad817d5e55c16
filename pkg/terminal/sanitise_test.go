package terminal

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSanitise(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"empty", "", ""},
		{"plain", "ci:runner-1", "ci:runner-1"},
		{"letters of the world", "Zoë Ångström 山田 Ωμέγα 🦊", "Zoë Ångström 山田 Ωμέγα 🦊"},
		{"escape", "\x1b[31mred\x1b[0m", "[31mred[0m"},
		{"title and bell", "\x1b]0;pwned\x07x", "]0;pwnedx"},
		{"C1 CSI as a character", "a\u009b31mb", "a31mb"},
		{"C1 CSI as a byte", "a\x9b31mb", "a\ufffd31mb"},
		{"DEL, NUL, backspace", "a\x7fb\x00c\bd", "abcd"},
		{"tab and line ends", "a\tb\nc\rd\ve\ff\u0085g\u2028h\u2029i", "a b c d e f g h i"},
		{"bidi override", "user\u202etxt.exe", "usertxt.exe"},
		{"bidi isolates and marks", "\u2066a\u2069\u200e\u200f\u061c", "a"},
		{"zero width", "ad\u200bm\u200ci\u200dn\u2060\ufeff", "admin"},
		{"soft hyphen", "ad\u00admin", "admin"},
		{"variation selector", "a\ufe0f\U000e0100b", "ab"},
		{"tag characters", "a\U000e0061\U000e007fb", "ab"},
		{"fillers that are letters", "a\u115f\u1160\u3164\uffa0b", "ab"},
		{"grapheme joiner", "a\u034fb", "ab"},
		{"wrong UTF-8", "a\xffb\xc3", "a\ufffdb\ufffd"},
		{"a real U+FFFD", "a\ufffdb", "a\ufffdb"},
		{"surrogate", "\xed\xa0\x80", "\ufffd\ufffd\ufffd"},
	} {
		if got := Sanitise(c.in); got != c.want {
			t.Errorf("%s: Sanitise(%q) = %q, want %q", c.name, c.in, got, c.want)
		}
	}
}

func TestSanitiseOfCleanTextAllocatesNothing(t *testing.T) {
	clean := strings.Repeat("Zoë 山田 🦊 ci-runner ", 20)
	if n := testing.AllocsPerRun(100, func() { Sanitise(clean) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSanitise(f *testing.F) {
	f.Add("plain")
	f.Add("\x1b[31m\u202e\u200b\xff\t\u2028\u3164\U000e0001")
	f.Fuzz(func(t *testing.T, in string) {
		out := Sanitise(in)
		if !utf8.ValidString(out) {
			t.Fatalf("%q: %q is not UTF-8", in, out)
		}
		for _, r := range out {
			switch {
			case r < ' ', r >= 0x7f && r < 0xa0,
				r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
				unicode.Is(unicode.Bidi_Control, r), unicode.Is(unicode.Join_Control, r),
				unicode.In(r, unicode.Cc, unicode.Cf, unicode.Cs, unicode.Zl, unicode.Zp),
				unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
				t.Fatalf("%q: %q holds %U", in, out, r)
			}
		}
		if again := Sanitise(out); again != out {
			t.Fatalf("%q: %q becomes %q", in, out, again)
		}
	})
}

func ExampleSanitise() {
	fmt.Println(Sanitise("ci\x1b[2J-run\u200bner\n"))
	// Output: ci[2J-runner
}

func BenchmarkSanitiseClean(b *testing.B) {
	for b.Loop() {
		Sanitise("1k7q9v2mabcd3fgh ldap/alice ci-deploy")
	}
}
