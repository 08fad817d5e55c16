package ldap

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	goldap "github.com/go-ldap/ldap/v3"

	"github.com/tokenctl/tokenctl/pkg/token"
)

var plain = Options{Realm: "corp", URL: "ldap://127.0.0.1", BaseDN: "dc=example,dc=org"}

func TestOptionsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	must(t, os.WriteFile(empty, nil, 0o600))
	for why, change := range map[string]func(*Options){
		"no directory has the realm": func(o *Options) { o.Realm = "local" },
		"realm":                      func(o *Options) { o.Realm = "" },
		"the url":                    func(o *Options) { o.URL = "" },
		"begins with neither":        func(o *Options) { o.URL = "http://127.0.0.1" },
		"HOST:PORT":                  func(o *Options) { o.URL = "ldap://127.0.0.1/dc=org" },
		"is not ldaps://HOST:PORT":   func(o *Options) { o.URL = "ldaps://" },
		"is not ldap://HOST:PORT":    func(o *Options) { o.URL = "ldap://user@127.0.0.1" },
		"no path of a socket":        func(o *Options) { o.URL = "ldapi://run" },
		"start_tls is for":           func(o *Options) { o.URL, o.StartTLS = "ldaps://h", true },
		"clear text":                 func(o *Options) { o.URL = "ldap://ldap.example.org" },
		"to 192.0.2.1:389 in clear":  func(o *Options) { o.URL = "ldap://192.0.2.1" },
		"localhost.example.org":      func(o *Options) { o.URL = "ldap://localhost.example.org" },
		"certificates are for":       func(o *Options) { o.CAFile = empty },
		"no such file":               func(o *Options) { o.StartTLS, o.CAFile = true, empty+"x" },
		"holds no certificate":       func(o *Options) { o.StartTLS, o.CAFile = true, empty },
		"needs its key":              func(o *Options) { o.StartTLS, o.CertFile = true, empty },
		"client certificate":         func(o *Options) { o.StartTLS, o.CertFile, o.KeyFile = true, empty, empty },
		"needs a bind_password_file": func(o *Options) { o.BindDN = "cn=x" },
		"and that a bind_dn":         func(o *Options) { o.BindPasswordFile = "x" },
		"in the place of bind_dn":    func(o *Options) { o.BindDN, o.BindPasswordFile, o.BindExternal = "cn=x", "x", true },
		"needs a client":             func(o *Options) { o.BindExternal = true },
		"no base_dn":                 func(o *Options) { o.BaseDN = "" },
		"is not a DN":                func(o *Options) { o.BaseDN = "people" },
		"holds no {name}":            func(o *Options) { o.UserFilter = "(objectClass=person)" },
		"the user_filter":            func(o *Options) { o.UserFilter = "(uid={name}" },
		"in the place of base_dn":    func(o *Options) { o.UserDN = "uid={name},dc=x" },
		"ATTRIBUTE={name},REST":      func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name}+cn=x,dc=x" },
		"is not ATTRIBUTE":           func(o *Options) { o.BaseDN, o.UserDN = "", "a=b,uid={name},dc=x" },
		"no base_dn says":            func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name}," },
		"is the id_attribute":        func(o *Options) { o.BaseDN, o.UserDN, o.IDAttribute = "", "cn={name},dc=x", "uid" },
		"is not an attribute":        func(o *Options) { o.IDAttribute = "uid)(x" },
		`"entry uuid"`:               func(o *Options) { o.EntryIDAttribute = "entry uuid" },
		"invisible":                  func(o *Options) { o.Canary = "a\x00" },
		"no group_base_dn":           func(o *Options) { o.Roles = []GroupRole{{"cn=x", "r"}} },
		"holds no {dn} or {name}":    func(o *Options) { o.GroupFilter = "(member=x)" },
		`the group "admins"`:         func(o *Options) { o.GroupBaseDN, o.Roles = "dc=x", []GroupRole{{"admins", "r"}} },
		"the role":                   func(o *Options) { o.GroupBaseDN, o.Roles = "dc=x", []GroupRole{{"cn=x", "a b"}} },
		"timeouts and numbers":       func(o *Options) { o.Timeout = -1 },
		"numbers are positive":       func(o *Options) { o.Batch = -1 },
	} {
		o := plain
		change(&o)
		_, err := New(o)
		if !errors.Is(err, token.ErrUsage) || !strings.Contains(err.Error(), why) {
			t.Errorf("want a token.ErrUsage with %q: %v", why, err)
		}
	}
}

func TestOptionsAccepted(t *testing.T) {
	for _, change := range []func(*Options){
		func(o *Options) {},
		func(o *Options) { o.URL = "ldap://localhost:1389/" },
		func(o *Options) { o.URL = "ldap://[::1]" },
		func(o *Options) { o.URL = "ldaps://ldap.example.org" },
		func(o *Options) { o.URL, o.StartTLS = "ldap://ldap.example.org", true },
		func(o *Options) { o.URL, o.InsecureClearTextPasswords = "ldap://ldap.example.org", true },
		func(o *Options) { o.URL = "ldapi://%2Frun%2Fslapd%2Fldapi" },
		func(o *Options) { o.URL, o.BindExternal = "ldapi:///run/slapd/ldapi", true },
		func(o *Options) { o.IDAttribute, o.EntryIDAttribute = "sAMAccountName", "objectGUID" },
		func(o *Options) { o.BaseDN, o.UserDN = "", "uid={name},ou=people,dc=example,dc=org" },
		func(o *Options) { o.UserFilter = "(&(objectClass=person)(|(uid={name})(mail={name})))" },
	} {
		o := plain
		change(&o)
		if _, err := New(o); err != nil {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

// Active Directory's tools show these 16 bytes so.
func TestObjectGUID(t *testing.T) {
	raw := "\x7f\x46\x31\xe2\x0c\x5c\xd2\x42\x97\x5b\x6b\x9e\x0e\x4b\x5a\x11"
	e := &goldap.Entry{Attributes: []*goldap.EntryAttribute{goldap.NewEntryAttribute("objectGUID", []string{raw})}}
	if got := entryID(e, "objectguid"); got != "e231467f-5c0c-42d2-975b-6b9e0e4b5a11" {
		t.Error(got)
	}
}

// Whatever a name is made of, it is a value in the filter and in the DN.
func FuzzName(f *testing.F) {
	for _, name := range []string{"u1", "*", "u1)(uid=*", `\2a`, `\`, "a,b=c+d", "#a", " a ", "é", "{name}", "{dn}", "\x00", "a\u0301", `"<>;=`} {
		f.Add(name)
	}
	o := plain
	o.BaseDN, o.UserDN = "", "uid={name},dc=example,dc=org"
	d, err := New(o)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		owner, err := d.Canonical(name)
		if err != nil {
			return
		}
		p, err := goldap.CompileFilter(d.anyOf([]string{owner.Name, "u1"}))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(p.Children) != 2 || p.Tag != goldap.FilterOr {
			t.Fatalf("%q makes another filter", name)
		}
		if p := p.Children[0]; p.Tag != goldap.FilterEqualityMatch || len(p.Children) != 2 || p.Children[0].Data.String() != "uid" || p.Children[1].Data.String() != owner.Name {
			t.Errorf("%q is not the value of the filter", name)
		}
		dn, err := goldap.ParseDN(d.userDN(owner.Name))
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		if len(dn.RDNs) != 3 || len(dn.RDNs[0].Attributes) != 1 || dn.RDNs[0].Attributes[0].Value != owner.Name {
			t.Errorf("%q makes the DN %q", name, d.userDN(owner.Name))
		}
	})
}
