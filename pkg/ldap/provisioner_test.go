package ldap

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

const ownPassword = "alice-pw"

// hasher makes values at the price that they really have.
func hasher(t testing.TB) *secret.Hasher {
	t.Helper()
	keys, err := secret.NewKeys(1, map[uint32][]byte{1: make([]byte, 32)})
	must(t, err)
	return secret.NewHasher(keys, secret.HasherOptions{})
}

// passwords is a server that has alice, and a provisioner of it.
func passwords(t testing.TB, change func(*ProvisionerOptions), more ...func(*Options)) (*slapd.Server, *Provisioner) {
	t.Helper()
	s := slapd.Start(t, slapd.Options{Passwords: true})
	s.Add("alice", ownPassword)
	return s, provisioner(t, s, change, more...)
}

func provisioner(t testing.TB, s *slapd.Server, change func(*ProvisionerOptions), more ...func(*Options)) *Provisioner {
	t.Helper()
	o := ProvisionerOptions{Name: "mail", Order: 7, Encode: hasher(t).Encode}
	if change != nil {
		change(&o)
	}
	p, err := NewProvisioner(open(t, options(s), append([]func(*Options){withCanary}, more...)...), o)
	must(t, err)
	return p
}

func prepare(t testing.TB, p *Provisioner, plain string) []byte {
	t.Helper()
	v, err := p.Prepare(t.Context(), aliceAtIMAP, secret.FromText(plain))
	must(t, err)
	return v
}

var aliceAtIMAP = provision.Target{Owner: owner("alice"), Service: "imap"}

// apply tells alice's entry.
func apply(t testing.TB, p *Provisioner, present, absent [][]byte) error {
	t.Helper()
	return p.Apply(t.Context(), &provision.Event{ID: "e", Target: aliceAtIMAP, Present: present, Absent: absent})
}

func list(values ...[]byte) [][]byte { return values }

// binds checks who may bind as alice.
func binds(t testing.TB, s *slapd.Server, passwords map[string]bool) {
	t.Helper()
	for password, good := range passwords {
		want := uint16(49)
		if good {
			want = 0
		}
		if code := s.Bind(slapd.DN("alice"), password); code != want {
			t.Errorf("the bind with %q gives %d, want %d", password, code, want)
		}
	}
}

var forms = map[secret.Scheme]string{
	secret.SchemeARGON2:      `^\{ARGON2\}\$argon2id\$v=19\$m=19456,t=2,p=1\$`,
	secret.SchemeCRYPT:       `^\{CRYPT\}\$2b\$10\$`,
	secret.InsecureClearText: `^Abcdefgh1234567$`,
}

func TestUserPassword(t *testing.T) {
	for scheme, form := range forms {
		t.Run(string(scheme), func(t *testing.T) {
			s, p := passwords(t, func(o *ProvisionerOptions) { o.Scheme = scheme })
			first, second := prepare(t, p, "Abcdefgh1234567"), prepare(t, p, "second123456789")
			if !regexp.MustCompile(form).Match(first) {
				t.Errorf("the value is %s", first)
			}
			binds(t, s, map[string]bool{ownPassword: true, "Abcdefgh1234567": false})
			for range 2 { // again changes nothing
				must(t, apply(t, p, list(first), nil))
				binds(t, s, map[string]bool{ownPassword: true, "Abcdefgh1234567": true, "abcdefgh1234567": false, "second123456789": false})
			}
			for range 2 {
				must(t, apply(t, p, list(second), list(first)))
				binds(t, s, map[string]bool{ownPassword: true, "Abcdefgh1234567": false, "second123456789": true})
			}
			for range 2 {
				must(t, apply(t, p, nil, list(first, second)))
				binds(t, s, map[string]bool{ownPassword: true, "Abcdefgh1234567": false, "second123456789": false})
			}
			if got := s.Values(slapd.DN("alice"), "userPassword"); !slices.Equal(got, []string{ownPassword}) {
				t.Errorf("in the end the values are %q", got)
			}
			changes(t, s, "alice", "userPassword", 2, 2)
		})
	}
}

// changes checks that our bind DN has changed that attribute of one entry by so
// many additions and removals, and nothing else anywhere.
func changes(t testing.TB, s *slapd.Server, uid, attribute string, adds, deletes int) {
	t.Helper()
	done := map[string]int{}
	for record := range strings.SplitSeq(s.Changes(), "\n\n") {
		if !strings.Contains(record, slapd.Service) {
			continue // made by the test, as root
		}
		var lines []string
		for line := range strings.SplitSeq(strings.ReplaceAll(record, "\n ", ""), "\n") {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		text := strings.Join(lines, "\n")
		m := regexp.MustCompile(`^dn: uid=` + uid + `,` + slapd.People + `\nchangetype: modify\n(add|delete): ` + attribute + `\n` + attribute + `::? \S+\n-\nreplace: entryCSN\n(?s:.*)$`).FindStringSubmatch(text)
		own := regexp.MustCompile(`(?m)^(add|delete|replace): (.*)$`).FindAllStringSubmatch(text, -1)
		if m == nil || len(own) != 4 || own[2][2] != "modifiersName" || own[3][2] != "modifyTimestamp" {
			t.Errorf("an unexpected change:\n%s", text)
			continue
		}
		done[m[1]]++
	}
	if done["add"] != adds || done["delete"] != deletes {
		t.Errorf("the server noted %v, want %d additions and %d removals:\n%s", done, adds, deletes, s.Changes())
	}
}

func TestApplicationPassword(t *testing.T) {
	s, p := passwords(t, func(o *ProvisionerOptions) { o.Attribute = ApplicationPassword })
	dn := slapd.DN("alice")
	v := prepare(t, p, "Abcdefgh1234567")
	err := apply(t, p, list(v), nil)
	if !errors.Is(err, token.ErrConflict) || !strings.Contains(err.Error(), "no object class of "+dn+" allows") {
		t.Errorf("an entry without the class: %v", err)
	}
	s.Set(dn, "objectClass", "inetOrgPerson", "voPerson")
	s.Set(dn, ApplicationPassword+";app-smtp", "of-another")
	must(t, apply(t, p, list(v), nil))
	if got := s.Values(dn, ApplicationPassword+";app-imap"); !slices.Equal(got, []string{string(v)}) {
		t.Errorf("the values are %q", got)
	}
	must(t, apply(t, p, nil, list(v)))
	if got := s.Values(dn, ApplicationPassword+";app-imap"); len(got) != 0 {
		t.Errorf("the values left are %q", got)
	}
	if got := s.Values(dn, ApplicationPassword+";app-smtp"); !slices.Equal(got, []string{"of-another"}) {
		t.Errorf("those of another service are %q", got)
	}
	binds(t, s, map[string]bool{ownPassword: true})
	changes(t, s, "alice", ApplicationPassword+";app-imap", 1, 1)

	for service, good := range map[string]bool{"imap": true, "i-1": true, "2": true, "a.b": false, "a:b": false, "a_b": false, "a;b": false, "": false} {
		_, err := p.Prepare(t.Context(), provision.Target{Owner: owner("alice"), Service: service}, secret.FromText("x"))
		if (err == nil) != good || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("the service %q: %v", service, err)
		}
	}
}

// What stands in the way is said in plain words, shows no value, and can be
// mended.
func TestProvisionerRefused(t *testing.T) {
	s, p := passwords(t, nil)
	v := prepare(t, p, "Abcdefgh1234567")
	plain := slapd.Start(t, slapd.Options{LDIF: slapd.Elsewhere})
	plain.Add("alice", ownPassword)
	s.Add("twice", "")
	s.Set(slapd.DN("twice"), "uid", "twice", "thrice")
	down := slapd.Start(t, slapd.Options{})
	toDown := provisioner(t, down, nil)
	down.Kill()
	for name, c := range map[string]struct {
		p    *Provisioner
		to   provision.Target
		kind error
		why  string
		// withdrawing is done, as there is nothing to withdraw from
		gone bool
	}{
		"no permission": {p: provisioner(t, plain, nil), to: aliceAtIMAP, kind: token.ErrRefused, why: slapd.Service + " may not write userPassword of " + slapd.DN("alice")},
		"no schema": {p: provisioner(t, plain, func(o *ProvisionerOptions) { o.Attribute = ApplicationPassword }), to: aliceAtIMAP, kind: token.ErrUsage,
			why: "knows no attribute voPersonApplicationPassword;app-imap", gone: true},
		"no entry":        {p: p, to: provision.Target{Owner: owner("nobody"), Service: "imap"}, kind: token.ErrNotFound, why: "corp/nobody has no entry", gone: true},
		"down":            {p: toDown, to: aliceAtIMAP, kind: token.ErrCannotTell, why: "connection refused"},
		"another person":  {p: p, to: provision.Target{Owner: owner("alice"), Service: "imap", EntryID: "11111111-2222-3333-4444-555555555555"}, kind: token.ErrRefused, why: "is another person now", gone: true},
		"several names":   {p: p, to: provision.Target{Owner: owner("twice"), Service: "imap"}, kind: token.ErrConflict, why: "2 names", gone: true},
		"maybe elsewhere": {p: provisioner(t, plain, nil), to: provision.Target{Owner: owner("bob"), Service: "imap"}, kind: token.ErrConflict, why: "referrals are not followed"},
		"another realm":   {p: p, to: provision.Target{Owner: token.Owner{Realm: "local", Name: "alice"}, Service: "imap"}, kind: token.ErrCannotTell, why: "local/alice"},
		"canary gone":     {p: provisioner(t, s, nil, func(o *Options) { o.Canary = "nobody" }), to: aliceAtIMAP, kind: token.ErrCannotTell, why: "canary"},
	} {
		err := c.p.Apply(t.Context(), &provision.Event{Target: c.to, Present: list(v)})
		if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), string(v)) {
			t.Errorf("%s: adding: %v, want %v with %q", name, err, c.kind, c.why)
		}
		err = c.p.Apply(t.Context(), &provision.Event{Target: c.to, Absent: list(v)})
		if (err == nil) != c.gone || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: withdrawing: %v", name, err)
		}
	}
	changes(t, s, "alice", "userPassword", 0, 0)
	down.Restart()
	down.Add("alice", "")
	if err := apply(t, toDown, list(v), nil); !errors.Is(err, token.ErrRefused) {
		t.Errorf("it is up again, and: %v", err)
	}
}

// A value goes from the entry that it was written to, though somebody else has
// the name by now, or nobody.
func TestRenamed(t *testing.T) {
	s, p := passwords(t, nil)
	v := prepare(t, p, "Abcdefgh1234567")
	verdict, err := p.d.Lookup(t.Context(), owner("alice"))
	must(t, err)
	e := provision.Event{Target: aliceAtIMAP, Present: list(v)}
	e.EntryID = verdict.EntryID
	must(t, p.Apply(t.Context(), &e))
	s.Rename("alice", "alicia")
	s.Add("alice", "another-pw")
	if err := p.Apply(t.Context(), &e); !errors.Is(err, token.ErrRefused) {
		t.Errorf("another person is given the password: %v", err)
	}
	e.Present, e.Absent = nil, list(v)
	for range 2 {
		must(t, p.Apply(t.Context(), &e))
	}
	if got := s.Values(slapd.DN("alicia"), "userPassword"); !slices.Equal(got, []string{ownPassword}) {
		t.Errorf("who has another name now has %q", got)
	}
	if got := s.Values(slapd.DN("alice"), "userPassword"); !slices.Equal(got, []string{"another-pw"}) {
		t.Errorf("who has the name now has %q", got)
	}
	s.Remove("alicia")
	must(t, p.Apply(t.Context(), &e))
}

// A server that says nothing is given up in time.
func TestProvisionerSilence(t *testing.T) {
	s, _ := passwords(t, nil)
	p := provisioner(t, s, nil, func(o *Options) { o.URL = silent(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := p.Apply(ctx, &provision.Event{Target: aliceAtIMAP, Present: list([]byte("x"))})
	if !errors.Is(err, token.ErrCannotTell) || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

func TestNewProvisioner(t *testing.T) {
	d := open(t, Options{Realm: "corp", URL: "ldap://127.0.0.1:1", BaseDN: slapd.People, BindDN: "cn=x", BindPasswordFile: "/x"})
	p, err := NewProvisioner(d, ProvisionerOptions{Name: "mail", Order: 3})
	if err != nil || p.Name() != "mail" || p.Order() != 3 || p.o.Attribute != UserPassword || p.o.Scheme != secret.SchemeARGON2 {
		t.Errorf("%+v, %v", p, err)
	}
	for o, want := range map[token.Owner]bool{owner("x"): true, {Realm: "local", Name: "x"}: false, {Realm: "corp2", Name: "x"}: false} {
		if p.Serves(o) != want {
			t.Errorf("it serves %s: %t", o, !want)
		}
	}
	if _, err := NewProvisioner(d, ProvisionerOptions{Attribute: "description"}); !errors.Is(err, token.ErrUsage) {
		t.Errorf("another attribute: %v", err)
	}
	anonymous := open(t, Options{Realm: "corp", URL: "ldap://127.0.0.1:1", BaseDN: slapd.People})
	if _, err := NewProvisioner(anonymous, ProvisionerOptions{}); !errors.Is(err, token.ErrUsage) {
		t.Errorf("without a bind DN: %v", err)
	}
	var _ directory.Directory = d
}
