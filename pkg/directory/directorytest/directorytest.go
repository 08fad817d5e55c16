// Package directorytest is the suite that every [directory.Directory] passes: a
// test for each sentence of its contract, named after it.
package directorytest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Realm and Canary are those of the directories that the suite is given. Each
// holds the canary and nobody else.
const (
	Realm  = "corp"
	Canary = "canary"
)

// Subject is a directory under test, with what changes it.
type Subject struct {
	directory.Directory
	// Bare is the same directory, with no canary named to it.
	Bare   directory.Directory
	Add    func(name string)
	Remove func(name string)
	Down   func() // from then on it cannot be asked
}

// Run tests the directories that open makes.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, test := range []struct {
		sentence string
		run      func(*testing.T, Subject)
	}{
		{"Canonical is the one form of an owner's name", canonical},
		{"Canonical refuses what could pass for another", canonicalRefuses},
		{"Presence gives a verdict for each owner in the order asked", order},
		{"Presence of nobody is nothing", nobody},
		{"Presence takes every name for a name", strangeNames},
		{"Who is added is present and who is removed is absent", changes},
		{"Who has another's name is another person", successor},
		{"An owner of another realm is a doubt", foreign},
		{"A name that is not canonical is a doubt", notCanonical},
		{"A call whose context has ended cannot tell", ended},
		{"Without the canary there is no verdict", canaryGone},
		{"A directory that is down gives errors and no verdicts", down},
		{"Lookup says what Presence says", lookup},
		{"An empty password is refused", emptyPassword},
		{"An unknown name is refused", unknownName},

		{"Survey finds exactly those who are gone", survey},
		{"Survey of nobody finds nobody", surveyNobody},
		{"Survey without a canary needs somebody present", surveyBare},
		{"Survey that cannot be put to its end finds nothing", surveyBreaks},
		{"Survey returns the error of who asks", surveySource},
	} {
		t.Run(test.sentence, func(t *testing.T) {
			s := open(t)
			defer s.Close()
			defer s.Bare.Close()
			test.run(t, s)
		})
	}
}

var background = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func owner(name string) token.Owner { return token.Owner{Realm: Realm, Name: name} }

func owners(names ...string) []token.Owner {
	list := make([]token.Owner, len(names))
	for i, name := range names {
		list[i] = owner(name)
	}
	return list
}

// states are what Presence says, in few words.
func states(t testing.TB, d directory.Directory, list ...token.Owner) string {
	t.Helper()
	verdicts, err := d.Presence(background, list)
	must(t, err)
	if len(verdicts) != len(list) {
		t.Fatalf("%d verdicts on %d owners", len(verdicts), len(list))
	}
	var words []string
	for i, v := range verdicts {
		if v.Owner != list[i] {
			t.Errorf("verdict %d is on %s, not on %s", i, v.Owner, list[i])
		}
		if (v.State == directory.Present) != (v.Why == "") {
			t.Errorf("%s is %s because of %q", v.Owner, v.State, v.Why)
		}
		words = append(words, v.State.String())
	}
	return strings.Join(words, ", ")
}

func expect(t testing.TB, d directory.Directory, want string, list ...token.Owner) {
	t.Helper()
	if got := states(t, d, list...); got != want {
		t.Errorf("%v: %s, want %s", list, got, want)
	}
}

func cannotTell(t testing.TB, err error) {
	t.Helper()
	if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrUsage) {
		t.Errorf("the error is %v, want a token.ErrCannotTell alone", err)
	}
}

func canonical(t *testing.T, s Subject) {
	for _, spellings := range [][]string{
		{"u1", "U1", " u1", "u1 ", "  U1  "},
		{"jos\u00e9", "jose\u0301", "JOS\u00c9", "JOSE\u0301"},
		{"\u00e5", "\u212b", "A\u030a"},
		{"k", "\u212a"},
	} {
		want, err := s.Canonical(spellings[0])
		must(t, err)
		if want != owner(spellings[0]) {
			t.Errorf("%q becomes %q", spellings[0], want)
		}
		for _, spelling := range spellings {
			if got, err := s.Canonical(spelling); err != nil || got != want {
				t.Errorf("%q becomes %q (%v), want %q", spelling, got, err, want)
			}
		}
	}
}

func canonicalRefuses(t *testing.T, s Subject) {
	for _, name := range []string{
		"", " ", "u\x001", "u1\n", "u\t1", "u\u200b1", "u1\u200d", "\u202eu1", "u\u00ad1", "u1\u00a0", "\ufeffu1", "u\xff", "\u2800", strings.Repeat("u", 256),
	} {
		if got, err := s.Canonical(name); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%q becomes %q (%v)", name, got, err)
		}
	}
}

func order(t *testing.T, s Subject) {
	s.Add("alice")
	s.Add("bob")
	expect(t, s, "absent, present, absent, present, present", owners("anna", "bob", "carol", "alice", "bob")...)
	expect(t, s, "present, present", owners(Canary, Canary)...)
}

func nobody(t *testing.T, s Subject) {
	if verdicts, err := s.Presence(background, nil); err != nil || len(verdicts) > 0 {
		t.Errorf("%v (%v)", verdicts, err)
	}
}

// Names that mean something to filters, DNs, patterns or files.
var strange = []string{
	"*", "u*", "u1)(uid=*", "*)(objectclass=*", "u1,ou=people", "a=b", `a\b`, `\2a`, "a+b", `"a"`, "<a>", "a;b", "#a", "a#b", "a/b", "..",
	"{name}", "{dn}", "(a)", "a b", "-a", "é", "日本", "a&b", "a|b", "!a", "a'b",
}

func strangeNames(t *testing.T, s Subject) {
	s.Add("u1")
	for _, name := range strange {
		expect(t, s, "absent, present", owners(name, "u1")...)
	}
	expect(t, s, strings.Repeat("absent, ", len(strange)-1)+"absent", owners(strange...)...)
	for _, name := range strange {
		if name == "#a" { // which a file cannot hold
			continue
		}
		s.Add(name)
		expect(t, s, "present, present", owners(name, "u1")...)
	}
	expect(t, s, "absent, present, absent", owners("u2", "*", "u**")...)
}

func changes(t *testing.T, s Subject) {
	for range 3 {
		s.Add("alice")
		expect(t, s, "present", owner("alice"))
		s.Remove("alice")
		expect(t, s, "absent", owner("alice"))
	}
}

func successor(t *testing.T, s Subject) {
	s.Add("alice")
	first, err := s.Lookup(background, owner("alice"))
	must(t, err)
	again, err := s.Lookup(background, owner("alice"))
	must(t, err)
	s.Remove("alice")
	s.Add("alice")
	second, err := s.Lookup(background, owner("alice"))
	must(t, err)
	if first.EntryID != again.EntryID {
		t.Errorf("one entry has the ids %q and %q", first.EntryID, again.EntryID)
	}
	if first.EntryID == "" && second.EntryID == "" {
		return // this directory has none
	}
	if first.EntryID == second.EntryID {
		t.Errorf("two entries have the id %q", first.EntryID)
	}
	known := directory.Known{Owner: owner("alice"), EntryID: first.EntryID}
	if v := first.Of(known); v.State != directory.Present {
		t.Errorf("the same person is %s: %s", v.State, v.Why)
	}
	if v := second.Of(known); v.State != directory.Absent || v.Why == "" {
		t.Errorf("another person under the name is %s: %s", v.State, v.Why)
	}
	f, err := directory.Survey(background, s, of(known, directory.Known{Owner: owner(Canary)}))
	must(t, err)
	if len(f.Absent) != 1 || f.Absent[0].Owner != owner("alice") || f.Present != 1 {
		t.Errorf("Survey finds %+v", f)
	}
}

func foreign(t *testing.T, s Subject) {
	s.Add("alice")
	expect(t, s, "cannot tell, present, cannot tell, cannot tell",
		token.Owner{Realm: "other", Name: "alice"}, owner("alice"), token.Owner{Realm: token.LocalRealm, Name: "alice"}, token.Owner{})
}

func notCanonical(t *testing.T, s Subject) {
	s.Add("alice")
	expect(t, s, "cannot tell, cannot tell, cannot tell, present", owners("Alice", " alice", "ali\u200bce", "alice")...)
}

func ended(t *testing.T, s Subject) {
	ctx, cancel := context.WithCancel(background)
	cancel()
	verdicts, err := s.Presence(ctx, owners("alice"))
	cannotTell(t, err)
	if len(verdicts) > 0 {
		t.Errorf("verdicts %v", verdicts)
	}
	_, err = s.Lookup(ctx, owner("alice"))
	cannotTell(t, err)
}

func canaryGone(t *testing.T, s Subject) {
	s.Add("alice")
	expect(t, s, "present", owner("alice"))
	s.Remove(Canary)
	_, err := s.Presence(background, owners("alice", "bob"))
	cannotTell(t, err)
	if err != nil && !strings.Contains(err.Error(), Canary) {
		t.Errorf("the error does not name the canary: %v", err)
	}
	_, err = s.Lookup(background, owner("bob"))
	cannotTell(t, err)
	expect(t, s.Bare, "present, absent", owners("alice", "bob")...)
}

func down(t *testing.T, s Subject) {
	s.Add("alice")
	expect(t, s, "present", owner("alice"))
	s.Down()
	for range 2 {
		verdicts, err := s.Presence(background, owners("alice"))
		cannotTell(t, err)
		if len(verdicts) > 0 {
			t.Errorf("verdicts %v", verdicts)
		}
		v, err := s.Lookup(background, owner("alice"))
		cannotTell(t, err)
		if v.State != directory.CannotTell {
			t.Errorf("alice is %s", v.State)
		}
	}
}

func lookup(t *testing.T, s Subject) {
	s.Add("alice")
	for _, o := range append(owners("alice", "bob", "Alice"), token.Owner{Realm: "other", Name: "alice"}) {
		v, err := s.Lookup(background, o)
		must(t, err)
		if got := states(t, s, o); got != v.State.String() || v.Owner != o {
			t.Errorf("%s is %s in Presence, %s is %s in Lookup", o, got, v.Owner, v.State)
		}
	}
}

func emptyPassword(t *testing.T, s Subject) {
	s.Add("alice")
	for _, name := range []string{"alice", Canary, "bob", ""} {
		if id, err := s.Authenticate(background, name, secret.Secret{}); !errors.Is(err, token.ErrRefused) || id.Owner != (token.Owner{}) {
			t.Errorf("%q without a password is %v (%v)", name, id, err)
		}
	}
}

func unknownName(t *testing.T, s Subject) {
	s.Add("alice")
	for _, name := range append([]string{"bob", "", "alice\x00", "ali\u200bce"}, strange...) {
		if id, err := s.Authenticate(background, name, secret.FromText("x")); !errors.Is(err, token.ErrRefused) || id.Owner != (token.Owner{}) {
			t.Errorf("%q is %v (%v)", name, id, err)
		}
	}
}

func of(list ...directory.Known) iter.Seq2[directory.Known, error] {
	return func(yield func(directory.Known, error) bool) {
		for _, k := range list {
			if !yield(k, nil) {
				return
			}
		}
	}
}

// many asks about so many owners, all strangers but those that s has.
func many(n int, after func(i int)) iter.Seq2[directory.Known, error] {
	return func(yield func(directory.Known, error) bool) {
		for i := range n {
			if after != nil {
				after(i)
			}
			if !yield(directory.Known{Owner: owner(fmt.Sprint("p", i))}, nil) {
				return
			}
		}
	}
}

func survey(t *testing.T, s Subject) {
	for _, name := range []string{"p3", "p5", "p999", "p1000", "p1200"} {
		s.Add(name)
	}
	for _, d := range []directory.Directory{s, s.Bare} {
		f, err := directory.Survey(background, d, many(1201, nil))
		must(t, err)
		if f.Asked != 1201 || f.Present != 5 || len(f.Absent) != 1196 || len(f.Doubts) != 0 || f.Disabled != 0 {
			t.Errorf("asked %d, present %d, absent %d, doubts %d, disabled %d", f.Asked, f.Present, len(f.Absent), len(f.Doubts), f.Disabled)
		}
		if len(f.Absent) > 5 && (f.Absent[3].Owner != owner("p4") || f.Absent[4].Owner != owner("p6")) {
			t.Errorf("the absent are out of order: %v", f.Absent[:5])
		}
	}
	f, err := directory.Survey(background, s, of(directory.Known{Owner: owner("P3")}, directory.Known{Owner: owner("p3")}))
	must(t, err)
	if len(f.Doubts) != 1 || f.Present != 1 || len(f.Absent) != 0 {
		t.Errorf("a doubt is counted as %+v", f)
	}
}

func surveyNobody(t *testing.T, s Subject) {
	for _, d := range []directory.Directory{s, s.Bare} {
		if f, err := directory.Survey(background, d, of()); err != nil || f.Asked != 0 || len(f.Absent) > 0 {
			t.Errorf("%+v (%v)", f, err)
		}
	}
}

func surveyBare(t *testing.T, s Subject) {
	f, err := directory.Survey(background, s.Bare, many(12, nil))
	cannotTell(t, err)
	if f.Asked != 0 || len(f.Absent) > 0 {
		t.Errorf("found %+v", f)
	}
	f, err = directory.Survey(background, s, many(12, nil))
	must(t, err)
	if len(f.Absent) != 12 {
		t.Errorf("with a canary found %+v", f)
	}
}

func surveyBreaks(t *testing.T, s Subject) {
	s.Add("p0")
	f, err := directory.Survey(background, s, many(2500, func(i int) {
		if i == 1500 { // the first thousand has been answered
			s.Down()
		}
	}))
	cannotTell(t, err)
	if f.Asked != 0 || f.Present != 0 || len(f.Absent) > 0 {
		t.Errorf("found %+v", f)
	}
}

func surveySource(t *testing.T, s Subject) {
	ours := errors.New("ours")
	f, err := directory.Survey(background, s, func(yield func(directory.Known, error) bool) {
		_ = yield(directory.Known{Owner: owner("p0")}, nil) && yield(directory.Known{}, ours)
	})
	if err != ours || len(f.Absent) > 0 {
		t.Errorf("found %+v (%v)", f, err)
	}
}
