package ldap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// Whatever fails, nobody is absent, and the message says what it was.
func TestFailures(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 20, Config: "referral ldap://127.0.0.1:1/"})
	s.Add("alice", "alice-pw")
	wrong := writeFile(t, "wrong", 0o600)
	for name, test := range map[string]struct {
		why    string
		change func(*Options)
	}{
		"nothing listens":           {"connection refused", func(o *Options) { o.URL = "ldap://127.0.0.1:1" }},
		"no such host":              {"cannot be reached", func(o *Options) { o.URL = "ldaps://nowhere.invalid" }},
		"no socket":                 {"cannot be reached", func(o *Options) { o.URL = "ldapi:///nowhere/ldapi" }},
		"wrong bind password":       {"refuses the bind as cn=tokenctl", func(o *Options) { o.BindPasswordFile = wrong }},
		"wrong bind DN":             {"refuses the bind as cn=nobody", func(o *Options) { o.BindDN = "cn=nobody," + slapd.Suffix }},
		"anonymous":                 {"may not be seen", func(o *Options) { o.BindDN, o.BindPasswordFile = "", "" }},
		"wrong filter":              {"canary canary was not found", func(o *Options) { o.UserFilter = "(&(objectClass=posixAccount)(uid={name}))" }},
		"wrong id attribute":        {"canary canary was not found", func(o *Options) { o.IDAttribute = "sAMAccountName" }},
		"canary missing":            {"canary gone was not found", func(o *Options) { o.Canary = "gone" }},
		"base without people":       {"canary canary was not found", func(o *Options) { o.BaseDN = slapd.Groups }},
		"wrong base":                {`the base "ou=persons,dc=example,dc=org" does not exist`, func(o *Options) { o.BaseDN = "ou=persons," + slapd.Suffix }},
		"base elsewhere":            {"referrals are not followed", func(o *Options) { o.BaseDN = "dc=elsewhere,dc=org" }},
		"unknown authority":         {"TLS failed", func(o *Options) { o.URL = s.TLSURL }},
		"unknown authority, later":  {"StartTLS failed", func(o *Options) { o.StartTLS = true }},
		"another name":              {"certificate", func(o *Options) { o.URL, o.CAFile = strings.Replace(s.TLSURL, "127.0.0.1", "localhost", 1), s.CAFile }},
		"no TLS there":              {"TLS failed", func(o *Options) { o.URL, o.CAFile = strings.Replace(s.URL, "ldap:", "ldaps:", 1), s.CAFile }},
		"no clear text there":       {"cannot tell", func(o *Options) { o.URL = strings.Replace(s.TLSURL, "ldaps:", "ldap:", 1) }},
		"password file is gone":     {"no such file", func(o *Options) { o.BindPasswordFile = wrong + "-gone" }},
		"password file is readable": {"chmod 600", func(o *Options) { o.BindPasswordFile = writeFile(t, slapd.ServicePassword, 0o640) }},
		"password file is empty":    {"is empty", func(o *Options) { o.BindPasswordFile = writeFile(t, "\n", 0o600) }},
		"password file is long":     {"longer than", func(o *Options) { o.BindPasswordFile = writeFile(t, strings.Repeat("x", 5000), 0o600) }},
		"password file has lines":   {"more than one line", func(o *Options) { o.BindPasswordFile = writeFile(t, "a\nb\n", 0o600) }},
		"silence":                   {"no answer in time", func(o *Options) { o.URL = silent(t); quick(50 * time.Millisecond)(o) }},
		"silence at StartTLS":       {"no answer in time", func(o *Options) { o.URL, o.StartTLS = silent(t), true; quick(50 * time.Millisecond)(o) }},
		"silence at TLS": {"TLS failed", func(o *Options) {
			o.URL = strings.Replace(silent(t), "ldap:", "ldaps:", 1)
			quick(50 * time.Millisecond)(o)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, options(s), withCanary, test.change)
			cannotTell(t, d, test.why, append(people(25), owner("alice"))...)
			_, err := d.Lookup(t.Context(), owner("alice"))
			isCannotTell(t, err, test.why)
			_, err = login(d, "alice", "alice-pw")
			isCannotTell(t, err, test.why)
			for _, text := range []string{slapd.ServicePassword, "alice-pw"} {
				if strings.Contains(fmt.Sprint(err), text) {
					t.Errorf("the error shows a password: %v", err)
				}
			}
		})
	}
	cannotTellWithout := open(t, options(s), func(o *Options) { o.UserFilter = "(&(objectClass=posixAccount)(uid={name}))" })
	if _, err := directory.Survey(t.Context(), cannotTellWithout, known(people(20))); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "none of the 20") {
		t.Errorf("a wrong filter without a canary: %v", err)
	}
}

func known(owners []token.Owner) func(func(directory.Known, error) bool) {
	return func(yield func(directory.Known, error) bool) {
		for _, o := range owners {
			if !yield(directory.Known{Owner: o}, nil) {
				return
			}
		}
	}
}

// A server that gives 500 entries and an error of 620 people has said nothing
// of the other 120.
func TestSizeLimit(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 619, SizeLimit: 500}) // and the canary
	owners := append(people(619), owner("gone1"), owner("gone2"))
	for _, batch := range []int{1, 100, 620, 2000} {
		d := open(t, options(s), withCanary, func(o *Options) { o.Batch = batch })
		verdicts, err := d.Presence(t.Context(), owners)
		if err != nil || count(verdicts) != "619 present, 2 absent, 0 doubts" {
			t.Errorf("by %d: %s (%v)", batch, count(verdicts), err)
		}
	}
	// A filter that finds everybody, in batches that the limit cuts and singly.
	for _, batch := range []int{1, 100, 1000} {
		d := open(t, options(s), withCanary, func(o *Options) {
			o.UserFilter, o.Batch = "(|(uid={name})(objectClass=person))", batch
		})
		doubts(t, d, "size limit", owners[600:]...)
		_, err := login(d, "u1", "x")
		isCannotTell(t, err, "size limit")
	}
	small := slapd.Start(t, slapd.Options{People: 20, SizeLimit: 1})
	doubts(t, open(t, options(small), withCanary), "cut off after 1", people(20)...)
}

// Part of the tree is on another server: who is not here may be there.
func TestReferral(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 20, LDIF: slapd.Elsewhere})
	s.Add("alice", "alice-pw")
	for _, d := range []*Directory{open(t, options(s)), open(t, options(s), withCanary)} {
		verdicts, err := d.Presence(t.Context(), people(25))
		if err != nil || count(verdicts) != "20 present, 0 absent, 5 doubts" {
			t.Errorf("%s (%v)", count(verdicts), err)
		}
		doubts(t, d, "referrals are not followed", owner("u21"))
		f, err := directory.Survey(t.Context(), d, known(people(25)))
		if err != nil || len(f.Doubts) != 5 || len(f.Absent) != 0 {
			t.Errorf("%+v (%v)", f, err)
		}
		accepted(t, d, "alice", "alice-pw")
		_, err = login(d, "bob", "x")
		isCannotTell(t, err, "referrals are not followed")
	}
	d := open(t, options(s), func(o *Options) { o.BaseDN = "ou=elsewhere," + slapd.People })
	cannotTell(t, d, "referrals are not followed", people(2)...)
}

// Two entries of one name are nobody.
func TestAmbiguous(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 2, LDIF: "dn: uid=u1," + slapd.Groups + "\nobjectClass: inetOrgPerson\nuid: u1\ncn: x\nsn: x\nuserPassword: pw\n\n" +
		"dn: uid=two," + slapd.People + "\nobjectClass: inetOrgPerson\nuid: two\nuid: deux\ncn: x\nsn: x\nuserPassword: pw\n\n"})
	d := open(t, options(s), func(o *Options) { o.BaseDN = slapd.Suffix })
	doubts(t, d, "2 entries", owner("u1"))
	_, err := login(d, "u1", "pw")
	isCannotTell(t, err, "2 entries")
	for _, name := range []string{"two", "deux"} {
		_, err = login(d, name, "pw")
		isCannotTell(t, err, "2 names")
	}
	d = open(t, options(s), func(o *Options) { o.EntryIDAttribute = "employeeNumber" })
	doubts(t, d, "shows no employeeNumber", owner("u1"), owner("u2"))
}

func TestKilledInTheMiddle(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 2000})
	d := open(t, options(s), withCanary)
	f, err := directory.Survey(t.Context(), d, func(yield func(directory.Known, error) bool) {
		for i, o := range people(4000) {
			if i == 2500 {
				s.Kill()
			}
			if !yield(directory.Known{Owner: o}, nil) {
				return
			}
		}
	})
	isCannotTell(t, err, "cannot tell")
	if f.Asked > 0 || len(f.Absent) > 0 {
		t.Errorf("found %d absent", len(f.Absent))
	}
	// While one Presence is under way, whenever that is.
	for range 5 {
		s.Restart()
		done := make(chan struct{})
		go func() {
			defer close(done)
			time.Sleep(10 * time.Millisecond)
			s.Kill()
		}()
		for err = nil; err == nil; {
			var verdicts []directory.Verdict
			verdicts, err = d.Presence(t.Context(), people(2000))
			if err == nil && count(verdicts) != "2000 present, 0 absent, 0 doubts" {
				t.Fatal(count(verdicts))
			}
		}
		isCannotTell(t, err, "cannot tell")
		<-done
	}
}

// Idle connections that the server has closed meanwhile are no failure.
func TestServerRestarts(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 2})
	d := open(t, options(s), withCanary)
	for range 3 {
		verdicts, err := d.Presence(t.Context(), people(3))
		if err != nil || count(verdicts) != "2 present, 1 absent, 0 doubts" {
			t.Fatalf("%s (%v)", count(verdicts), err)
		}
		s.Stop()
		s.Restart()
	}
}

// The password is read again for each connection.
func TestBindPasswordChanges(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 1})
	d := open(t, options(s), func(o *Options) { o.BindPasswordFile = writeFile(t, "wrong", 0o600) })
	cannotTell(t, d, "refuses the bind", people(1)...)
	must(t, os.WriteFile(d.o.BindPasswordFile, []byte(slapd.ServicePassword), 0o600))
	if verdicts, err := d.Presence(t.Context(), people(1)); err != nil || count(verdicts) != "1 present, 0 absent, 0 doubts" {
		t.Errorf("%s (%v)", count(verdicts), err)
	}
}

// A secret of Kubernetes is a link over links, in a folder that all may write.
func TestBindPasswordInAVolume(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 1})
	volume, real := t.TempDir(), writeFile(t, slapd.ServicePassword, 0o400)
	for link, to := range map[string]string{"password": "..data/" + filepath.Base(real), "..data": "..2026", "..2026": filepath.Dir(real)} {
		must(t, os.Symlink(to, filepath.Join(volume, link)))
	}
	must(t, os.Chmod(volume, 0o777|os.ModeSticky))
	d := open(t, options(s), func(o *Options) { o.BindPasswordFile = filepath.Join(volume, "password") })
	if verdicts, err := d.Presence(t.Context(), people(1)); err != nil || count(verdicts) != "1 present, 0 absent, 0 doubts" {
		t.Errorf("%s (%v)", count(verdicts), err)
	}
}

func TestContextEndsASearch(t *testing.T) {
	d := open(t, Options{Realm: "corp", URL: silent(t), BaseDN: slapd.People})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := d.Presence(ctx, people(1))
	isCannotTell(t, err, "given up")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// More questions than connections wait for each other, and get their answers.
func TestTogether(t *testing.T) {
	s := slapd.Start(t, slapd.Options{People: 50})
	s.Add("alice", "alice-pw")
	d := open(t, options(s), withCanary, func(o *Options) { o.Connections, o.Batch = 2, 10 })
	done := make(chan error)
	for i := range 12 {
		go func() {
			if i%3 == 0 {
				_, err := login(d, "alice", "alice-pw")
				done <- err
				return
			}
			verdicts, err := d.Presence(context.Background(), people(60))
			if err == nil && count(verdicts) != "50 present, 10 absent, 0 doubts" {
				err = errors.New(count(verdicts))
			}
			done <- err
		}()
	}
	for range 12 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
