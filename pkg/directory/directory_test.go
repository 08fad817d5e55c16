package directory_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestZeroVerdictRemovesNobody(t *testing.T) {
	var v directory.Verdict
	if v.State != directory.CannotTell {
		t.Fatal(v.State)
	}
}

func TestOf(t *testing.T) {
	alice := token.Owner{Realm: "corp", Name: "alice"}
	for _, test := range []struct {
		state       directory.State
		id, knownID string
		want        directory.State
	}{
		{directory.Present, "1", "1", directory.Present},
		{directory.Present, "1", "", directory.Present},
		{directory.Present, "", "", directory.Present},
		{directory.Present, "2", "1", directory.Absent},
		{directory.Present, "", "1", directory.CannotTell},
		{directory.Present, "A1 ", "a1", directory.CannotTell},
		{directory.Absent, "", "1", directory.Absent},
		{directory.Absent, "", "", directory.Absent},
		{directory.CannotTell, "", "1", directory.CannotTell},
		{directory.CannotTell, "2", "1", directory.CannotTell},
	} {
		v := directory.Verdict{Identity: directory.Identity{Owner: alice, EntryID: test.id}, State: test.state}
		got := v.Of(directory.Known{Owner: alice, EntryID: test.knownID})
		if got.State != test.want || (got.State != v.State) != (got.Why != "") {
			t.Errorf("%+v: %s, %q", test, got.State, got.Why)
		}
	}
}

func TestFoldRefusesRealms(t *testing.T) {
	for _, realm := range []string{"", token.LocalRealm, "a/b", strings.Repeat("r", 65)} {
		if o, err := directory.Fold(realm, "alice"); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%q: %v (%v)", realm, o, err)
		}
	}
}

// Of a directory that cannot be set up nobody learns anything but why.
func TestUnavailable(t *testing.T) {
	d := directory.Unavailable("corp", token.Errorf(token.ErrUsage, "the file is gone").WithHint("put it back"))
	bob, err := d.Canonical("Bob")
	if want := (token.Owner{Realm: "corp", Name: "bob"}); bob != want || err != nil || d.Realm() != "corp" || !d.Canary().IsZero() {
		t.Fatalf("%v (%v)", bob, err)
	}
	verdicts, presence := d.Presence(t.Context(), []token.Owner{bob})
	_, lookup := d.Lookup(t.Context(), bob)
	_, authenticate := d.Authenticate(t.Context(), "bob", secret.FromText("x"))
	for what, err := range map[string]error{"Presence": presence, "Lookup": lookup, "Authenticate": authenticate} {
		var told *token.Error
		if !errors.As(err, &told) || !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrUsage) || !strings.Contains(told.Message, "the file is gone") || told.Hint != "put it back" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := d.Authenticate(t.Context(), "bob", secret.Secret{}); !errors.Is(err, token.ErrRefused) || verdicts != nil {
		t.Errorf("no password: %v; %v", err, verdicts)
	}
}

// A name that a directory takes for another's is nobody's.
func TestFoldRefusesLooseNames(t *testing.T) {
	for _, name := range []string{"\uff41lice", "of\ufb01ce", "a  b", "\u24d0lice", "\u017fam"} {
		if o, err := directory.Fold("corp", name); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%q: %v (%v)", name, o, err)
		}
	}
}

// Canonical is canonical: folding again changes nothing, and no spelling in
// another case is another owner.
func FuzzFold(f *testing.F) {
	for _, name := range []string{"u1", "U1 ", "JOSE\u0301", "\u0130", "\u017f", "\u1e9e", "\u03a3", "\u0345", "\u01c5", "\u1f88", "\u212b", "u1)(uid=*", strings.Repeat("\u023a", 100)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		o, err := directory.Fold("corp", name)
		if err != nil {
			if o != (token.Owner{}) || !errors.Is(err, token.ErrUsage) {
				t.Fatalf("%q: %v (%v)", name, o, err)
			}
			return
		}
		if again, err := directory.Fold("corp", o.Name); err != nil || again != o {
			t.Errorf("%q becomes %q, then %q (%v)", name, o, again, err)
		}
		if back, err := token.ParseOwner(o.String()); err != nil || back != o {
			t.Errorf("%q becomes %q, read back as %q (%v)", name, o, back, err)
		}
		if lower, err := directory.Fold("corp", strings.ToLower(name)); err == nil && lower != o {
			t.Errorf("%q becomes %q, in lower case %q", name, o, lower)
		}
	})
}
