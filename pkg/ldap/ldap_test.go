package ldap

import (
	"errors"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/directorytest"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

func TestDirectory(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"base_dn": func(*Options) {},
		"user_dn": func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name},"+slapd.People },
	} {
		t.Run(name, func(t *testing.T) {
			directorytest.Run(t, func(t *testing.T) directorytest.Subject {
				s := slapd.Start(t, slapd.Options{})
				return directorytest.Subject{
					Directory: open(t, options(s), change, withCanary),
					Bare:      open(t, options(s), change),
					Add:       func(name string) { s.Add(name, "pw-"+name) },
					Remove:    s.Remove,
					Down:      s.Stop,
				}
			})
		})
	}
}

func TestWays(t *testing.T) {
	s := slapd.Start(t, slapd.Options{LDIF: slapd.Group("admins", slapd.DN("u1")), People: 3})
	s.Add("alice", "alice-pw")
	external := func(o *Options) { o.BindDN, o.BindPasswordFile, o.BindExternal = "", "", true }
	for name, change := range map[string]func(*Options){
		"ldap":     func(*Options) {},
		"StartTLS": func(o *Options) { o.StartTLS, o.CAFile = true, s.CAFile },
		"ldaps":    func(o *Options) { o.URL, o.CAFile = s.TLSURL, s.CAFile },
		"ldapi":    func(o *Options) { o.URL = s.SocketURL },
		"ldapi, EXTERNAL": func(o *Options) {
			o.URL = s.SocketURL
			external(o)
		},
		"ldaps, EXTERNAL": func(o *Options) {
			o.URL, o.CAFile, o.CertFile, o.KeyFile = s.TLSURL, s.CAFile, s.CertFile, s.KeyFile
			external(o)
		},
		"StartTLS, EXTERNAL": func(o *Options) {
			o.StartTLS, o.CAFile, o.CertFile, o.KeyFile = true, s.CAFile, s.CertFile, s.KeyFile
			external(o)
		},
		"user_dn, read by oneself": func(o *Options) {
			o.BindDN, o.BindPasswordFile, o.BaseDN, o.UserDN = "", "", "", "uid={name},"+slapd.People
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, options(s), change)
			if !strings.Contains(name, "oneself") {
				verdicts, err := d.Presence(t.Context(), append(people(5), owner("alice")))
				if err != nil || count(verdicts) != "4 present, 2 absent, 0 doubts" {
					t.Errorf("%s (%v)", count(verdicts), err)
				}
			}
			if id := accepted(t, d, "Alice ", "alice-pw"); id.Owner != owner("alice") || len(id.EntryID) != 36 || id.DisplayName != "Person alice" {
				t.Errorf("alice is %+v", id)
			}
			refused(t, d, "alice", "alice-pW")
			refused(t, d, "bob", "alice-pw")
			refused(t, d, "u1", "alice-pw") // who has no password
		})
	}
}

func TestGroups(t *testing.T) {
	s := slapd.Start(t, slapd.Options{LDIF: slapd.Group("Admins", slapd.DN("u1"), slapd.DN("alice")) +
		slapd.Group("devs", slapd.DN("alice"), slapd.DN(`a\,b`)) + slapd.Group("others", slapd.DN("u1"))})
	s.Add("alice", "alice-pw")
	s.Add("bob", "bob-pw")
	s.Add("*", "star-pw")
	d := open(t, options(s), withCanary, func(o *Options) {
		o.GroupBaseDN = slapd.Groups
		o.Roles = []GroupRole{
			{"CN=admins, ou=groups,dc=Example,dc=org", token.Admin},
			{"cn=devs," + slapd.Groups, "deploy"},
			{"cn=devs," + slapd.Groups, "build"},
			{"cn=others," + slapd.Groups, "other"},
		}
	})
	for name, want := range map[string]string{
		"alice": "cn=Admins,ou=groups,dc=example,dc=org cn=devs,ou=groups,dc=example,dc=org | build deploy tokenctl:admin",
		"bob":   " | ",
		"*":     " | ",
	} {
		id, err := login(d, name, strings.ReplaceAll(name, "*", "star")+"-pw")
		must(t, err)
		v, err := d.Lookup(t.Context(), owner(name))
		must(t, err)
		for _, id := range []directory.Identity{id, v.Identity} {
			var roles []string
			for _, r := range id.Roles {
				roles = append(roles, string(r))
			}
			if got := strings.Join(id.Groups, " ") + " | " + strings.Join(roles, " "); got != want {
				t.Errorf("%s is in %s, want %s", name, got, want)
			}
		}
	}
	// Who has lost a role keeps it nowhere: nothing is remembered.
	s.Set("cn=devs,"+slapd.Groups, "member", slapd.DN("bob"))
	if v, err := d.Lookup(t.Context(), owner("alice")); err != nil || len(v.Roles) != 1 {
		t.Errorf("%v (%v)", v.Roles, err)
	}
	// No groups where they cannot be read is no answer.
	d = open(t, options(s), func(o *Options) { o.GroupBaseDN = "ou=none," + slapd.Suffix })
	_, err := d.Lookup(t.Context(), owner("alice"))
	isCannotTell(t, err, `the base "ou=none,`)
	_, err = login(d, "alice", "alice-pw")
	isCannotTell(t, err, `the base "ou=none,`)
}

// An empty password is an anonymous bind to a server, which takes it.
func TestEmptyPasswordIsNotAsked(t *testing.T) {
	s := slapd.Start(t, slapd.Options{Config: "allow bind_anon_cred bind_anon_dn"})
	s.Add("alice", "alice-pw")
	for _, change := range []func(*Options){
		func(*Options) {},
		func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name},"+slapd.People },
	} {
		d := open(t, options(s), change)
		accepted(t, d, "alice", "alice-pw")
		before := s.Log()
		for _, name := range []string{"alice", "Alice", slapd.Canary, "nobody", "*"} {
			refused(t, d, name, "")
		}
		if rest := strings.TrimPrefix(s.Log(), before); strings.Contains(rest, " BIND ") || strings.Contains(rest, " SRCH ") {
			t.Errorf("the server was asked:\n%s", rest)
		}
	}
}

// One identity, or refused.
func TestSpellings(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	s.Add("u1", "u1-pw")
	s.Add("jos\u00e9", "jose-pw")
	s.Add("Mixed", "mixed-pw")
	s.Add("a b", "ab-pw")
	for _, d := range []*Directory{
		open(t, options(s)),
		open(t, options(s), withCanary),
		open(t, options(s), func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name},"+slapd.People }),
		open(t, options(s), func(o *Options) { o.UserFilter = "(&(objectClass=person)(|(uid={name})(cn={name})))" }),
	} {
		for spelling, want := range map[string]string{
			"u1": "u1", "U1": "u1", "u1 ": "u1", " u1": "u1",
			"jos\u00e9": "jos\u00e9", "jose\u0301": "jos\u00e9", "JOS\u00c9": "jos\u00e9",
			"mixed": "mixed", "MIXED": "mixed", "a b": "a b",
		} {
			password := map[string]string{"u1": "u1-pw", "jos\u00e9": "jose-pw", "mixed": "mixed-pw", "a b": "ab-pw"}[want]
			if id := accepted(t, d, spelling, password); id.Owner != owner(want) {
				t.Errorf("%q logs in as %s", spelling, id.Owner)
			}
		}
		for _, spelling := range []string{"*", "u*", "u1)(uid=*", "u1\x00", "u\u200b1", "u1,ou=people", `u\31`, "a  b", "\uff551", "u1\u00a0", "Person u1", ""} {
			id, err := login(d, spelling, "u1-pw")
			if !errors.Is(err, token.ErrRefused) && !errors.Is(err, token.ErrCannotTell) || id.Owner != (token.Owner{}) {
				t.Errorf("%q logs in as %s (%v)", spelling, id.Owner, err)
			}
			if o := (token.Owner{Realm: "corp", Name: spelling}); spelling != "" {
				if v, err := d.Lookup(t.Context(), o); err != nil || v.State == directory.Present {
					t.Errorf("%q is %s (%v)", spelling, v.State, err)
				}
			}
		}
	}
}

// The server finds u1 under names that it takes for the same: nobody is asked
// about by them. Who is asked about beside them has an answer of their own.
func TestLooseMatch(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 2})
	for _, d := range []*Directory{open(t, options(s)), open(t, options(s), withCanary)} {
		verdicts, err := d.Presence(t.Context(), []token.Owner{owner("\uff551"), owner("u3"), owner("u2")})
		must(t, err)
		if v := verdicts[0]; v.State != directory.CannotTell || !strings.Contains(v.Why, "plainer form") {
			t.Errorf("%s is %s: %s", v.Owner, v.State, v.Why)
		}
		if verdicts[1].State != directory.Absent || verdicts[2].State != directory.Present {
			t.Errorf("beside it: %s, %s", verdicts[1].State, verdicts[2].State)
		}
	}
}

func TestDisabled(t *testing.T) {
	s := slapd.Start(t, slapd.Options{Config: `attributetype ( 1.2.840.113556.1.4.8 NAME 'userAccountControl' EQUALITY integerMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.27 SINGLE-VALUE )
attributetype ( 2.16.840.1.113730.3.1.610 NAME 'nsAccountLock' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
objectclass ( 1.1.1 NAME 'lockable' SUP top AUXILIARY MAY ( userAccountControl $ nsAccountLock ) )`})
	s.Add("alice", "alice-pw")
	s.Set(slapd.DN("alice"), "objectClass", "inetOrgPerson", "lockable")
	d := open(t, options(s))
	for _, test := range []struct {
		attribute, value string
		disabled         bool
	}{
		{"userAccountControl", "512", false}, {"userAccountControl", "514", true}, {"userAccountControl", "66050", true},
		{"nsAccountLock", "TRUE", true}, {"nsAccountLock", "false", false},
	} {
		s.Set(slapd.DN("alice"), test.attribute, test.value)
		verdicts, err := d.Presence(t.Context(), []token.Owner{owner("alice")})
		must(t, err)
		if v := verdicts[0]; v.State != directory.Present || v.Disabled != test.disabled {
			t.Errorf("%s %s: %s, disabled %v", test.attribute, test.value, v.State, v.Disabled)
		}
		if test.disabled {
			refused(t, d, "alice", "alice-pw")
		} else {
			accepted(t, d, "alice", "alice-pw")
		}
		s.Set(slapd.DN("alice"), test.attribute)
	}
}

// Whoever comes under the name of another is somebody else, and the caller can
// see it.
func TestSuccessorLogsInAsAnother(t *testing.T) {
	s := slapd.Start(t, slapd.Options{})
	s.Add("alice", "alice-pw")
	d := open(t, options(s), withCanary)
	first := accepted(t, d, "alice", "alice-pw")
	s.Remove("alice")
	refused(t, d, "alice", "alice-pw")
	s.Add("alice", "other-pw")
	second := accepted(t, d, "alice", "other-pw")
	if first.Owner != second.Owner || first.EntryID == second.EntryID {
		t.Errorf("%+v and %+v", first, second)
	}
}
