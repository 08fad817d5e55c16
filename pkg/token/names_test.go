package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestParseOwner(t *testing.T) {
	for _, c := range []struct{ text, realm, name string }{
		{"alice", "local", "alice"},
		{"local/alice", "local", "alice"},
		{"corp/alice", "corp", "alice"},
		{"corp/a/b//c", "corp", "a/b//c"}, // an issuer's subject
		{"corp//", "corp", "/"},
		{" alice ", "local", "alice"},
		{"corp/ alice  ", "corp", "alice"},
		{"corp/al ice", "corp", "al ice"},

		// Only the realm local folds case: what others do is theirs to say.
		{"ALICE", "local", "alice"},
		{"ÅSA", "local", "åsa"},
		{"corp/ALICE", "corp", "ALICE"},
		{"\u0130", "local", "i"},           // capital I with dot: no dot is left over
		{"A\u030A", "local", "å"},          // folded, then composed
		{"\u2126", "local", "ω"},           // the ohm sign is an omega
		{"corp/\u212B", "corp", "\u00C5"},  // so is the ångström sign a letter
		{"corp/e\u0301", "corp", "\u00E9"}, // NFD becomes NFC
		{"corp/\u00E9", "corp", "\u00E9"},
		{"corp/\uFB01", "corp", "\uFB01"}, // NFC, not NFKC: a ligature stays one
		{strings.Repeat("a", 255), "local", strings.Repeat("a", 255)},
	} {
		o, err := token.ParseOwner(c.text)
		if err != nil || o != (token.Owner{Realm: c.realm, Name: c.name}) {
			t.Errorf("ParseOwner(%q) = %+v, %v", c.text, o, err)
		}
	}
}

func TestParseOwnerRefuses(t *testing.T) {
	for _, text := range []string{
		"", " ", "/", "/alice", "corp/", "corp/  ", "two words/alice", "-corp/alice", "corp\n/alice",
		"0123456789abcdef/alice", // a realm that looks like an id
		"\xff", "corp/a\xffb", "corp/\xed\xa0\x80",
		"a\nb", "a\tb", "a\x00b", "a\x7fb", "a\u0085b", "a\x1b[31mb", "alice\n",
		"a\u00a0b", "a\u2003b", "a\u3000b", "alice\u00a0", "a\u2028b", "a\u2029b", // space that is not ' '
		"a\u200bb", "a\u200db", "a\u2060b", "a\ufeffb", "a\u00adb", "a\u180eb", // without width
		"a\u202eb", "a\u202ab", "a\u2066b", "a\u2069b", "a\u200eb", "a\u061cb", // direction
		"a\U000E0041b", "a\U000E0001b", "a\U000E007Fb", // tags
		"a\uFE0Fb", "a\U000E0100b", "a\u180bb", // variation selectors
		"a\u034fb", "a\u115fb", "a\u1160b", "a\u3164b", "a\uffa0b", "a\u17b4b", // fillers
		"a\u2800b",             // a blank of braille
		"a\ue000b", "a\ufdd0b", // private use, no character
		strings.Repeat("a", 256),
		strings.Repeat("ⱥ", 85) + "a", // 255 bytes and one more
		strings.Repeat("Ⱥ", 127),      // 254 bytes, 381 in lower case
	} {
		if o, err := token.ParseOwner(text); !errors.Is(err, token.ErrUsage) || o != (token.Owner{}) {
			t.Errorf("ParseOwner(%q) = %+v, %v", text, o, err)
		}
	}
}

func TestOwnerText(t *testing.T) {
	o := token.Owner{Realm: "corp", Name: "a/b"}
	text, err := o.MarshalText()
	if string(text) != "corp/a/b" || err != nil {
		t.Errorf("MarshalText gives %q, %v", text, err)
	}
	for text, want := range map[string]token.Owner{"corp/a/b": o, "": {}, "Bob": {Realm: "local", Name: "bob"}} {
		got := token.Owner{Realm: "was", Name: "another"}
		if err := got.UnmarshalText([]byte(text)); got != want || err != nil {
			t.Errorf("UnmarshalText(%q) gives %+v, %v", text, got, err)
		}
	}
	if err := o.UnmarshalText([]byte("corp/\n")); !errors.Is(err, token.ErrUsage) || !o.IsZero() {
		t.Errorf("UnmarshalText of a bad name leaves %+v, %v", o, err)
	}
	if s := (token.Owner{}).String(); s != "" {
		t.Errorf("no owner is %q", s)
	}
}

// The canonical form is one, is its own canonical form, and is read back from
// its text; nothing in it is invisible.
func FuzzNewOwner(f *testing.F) {
	for _, seed := range []string{"alice", "A\u030A ", "İ", "ΑΣ", "corp/x", " \u0301", "\u1FEF", "ⱥ", "a\u200b", "ſ", "\uFB1D", "\U0001F468\u200d"} {
		f.Add("local", seed)
		f.Add("corp", seed)
	}
	f.Fuzz(func(t *testing.T, realm, name string) {
		o, err := token.NewOwner(realm, name)
		if err != nil {
			if !errors.Is(err, token.ErrUsage) || !o.IsZero() {
				t.Fatalf("NewOwner(%q, %q) = %+v, %v", realm, name, o, err)
			}
			return
		}
		if again, err := token.NewOwner(o.Realm, o.Name); again != o || err != nil {
			t.Errorf("%+v is not its own canonical form: %+v, %v", o, again, err)
		}
		if read, err := token.ParseOwner(o.String()); read != o || err != nil {
			t.Errorf("%q is read as %+v, %v", o.String(), read, err)
		}
		for _, form := range []norm.Form{norm.NFC, norm.NFD} {
			if other, err := token.NewOwner(realm, "  "+form.String(name)+" "); other != o || err != nil {
				t.Errorf("in another normal form, or with spaces, %q is %+v, not %+v: %v", name, other, o, err)
			}
		}
		if !utf8.ValidString(o.Name) || o.Name == "" || len(o.Name) > 255 || strings.TrimSpace(o.Name) != o.Name || !norm.NFC.IsNormalString(o.Name) {
			t.Errorf("canonical form %q", o.Name)
		}
		for _, c := range o.Name {
			if !unicode.IsGraphic(c) || unicode.Is(unicode.Cf, c) || o.Realm == "local" && unicode.IsUpper(c) && unicode.ToLower(c) != c {
				t.Errorf("canonical form %q holds %U", o.Name, c)
			}
		}
	})
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"ci": true, "x": true, "CI.build_7:eu-west": true, "..": true, "_": true, "a-": true,
		strings.Repeat("x", 64): true,
		"0123456789abcdeg":      false, "0123456789ABCDEF": false, "zzzzzzzzzzzzzzzz": false, // like an id
		"0123456789abcde": true, "0123456789abcdef0": true,
		"0123456789abcdei": true, "tokenctl:auditor": true, // 16 characters, not of its alphabet
		"": false, "-x": false, "a b": false, " a": false, "a\n": false, "a/b": false, "a\x00": false,
		"é": false, "a\u200b": false, "\xff": false, "a@b": false, "a%": false, "ａ": false,
		strings.Repeat("x", 65): false,
	} {
		err := token.CheckName("token name", name)
		if (err == nil) != ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"ci", "", "-x", "0123456789abcdef", "a:b", "a\xff"} {
		f.Add(seed)
	}
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
	f.Fuzz(func(t *testing.T, name string) {
		good := name != "" && len(name) <= 64 && name[0] != '-' && strings.Trim(name, allowed) == "" && !secret.LooksLikeID(name)
		if err := token.CheckName("role", name); (err == nil) != good {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
		if _, err := token.ParseID(name); err == nil && good {
			t.Errorf("%q is a name and an id", name)
		}
	})
}

func TestParseRoles(t *testing.T) {
	roles, err := token.ParseRoles([]string{"writer", "reader", "writer", "admin"})
	if err != nil || !slices.Equal(roles, []token.Role{"admin", "reader", "writer"}) {
		t.Errorf("ParseRoles gives %v, %v", roles, err)
	}
	if roles, err := token.ParseRoles(nil); err != nil || roles == nil || len(roles) != 0 {
		t.Errorf("ParseRoles of none gives %#v, %v", roles, err)
	}
	if _, err := token.ParseRoles([]string{"reader", "two words"}); !errors.Is(err, token.ErrUsage) {
		t.Errorf("ParseRoles of a bad one: %v", err)
	}
}

func TestIntersectRoles(t *testing.T) {
	type roles = []token.Role
	for _, c := range []struct{ wanted, held, want roles }{
		{roles{"a", "b"}, roles{"b", "c"}, roles{"b"}},
		{roles{"b", "a"}, roles{"a", "b"}, roles{"b", "a"}},
		{roles{"a"}, nil, roles{}},
		{nil, roles{"a"}, roles{}},
		{roles{"a", "b"}, roles{token.Admin}, roles{"a", "b"}},
		{roles{token.Admin}, roles{"a"}, roles{}}, // wanting everything gives nothing
		{roles{token.Admin, "a"}, roles{"a", token.Auditor}, roles{"a"}},
		{nil, roles{token.Admin}, roles{}},
	} {
		if got := token.IntersectRoles(c.wanted, c.held); got == nil || !slices.Equal(got, c.want) {
			t.Errorf("of %v, holding %v, are left %#v, want %v", c.wanted, c.held, got, c.want)
		}
	}
}

func TestHasRole(t *testing.T) {
	for _, c := range []struct {
		held []token.Role
		want bool
	}{{nil, false}, {[]token.Role{"reader"}, false}, {[]token.Role{"reader", "writer"}, true}, {[]token.Role{token.Admin}, true}, {[]token.Role{token.Auditor}, false}} {
		identity := token.Identity{Roles: c.held}
		if identity.HasRole("writer") != c.want {
			t.Errorf("%v has the role writer: %t, want %t", c.held, identity.HasRole("writer"), c.want)
		}
	}
}
