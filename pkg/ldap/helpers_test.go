package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// options are those of a server's people, without a canary.
func options(s *slapd.Server) Options {
	return Options{
		Realm: "corp", URL: s.URL,
		BindDN: slapd.Service, BindPasswordFile: s.PasswordFile,
		BaseDN: slapd.People,
	}
}

func open(t testing.TB, o Options, changes ...func(*Options)) *Directory {
	t.Helper()
	for _, change := range changes {
		change(&o)
	}
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func withCanary(o *Options) { o.Canary = slapd.Canary }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func owner(name string) token.Owner { return token.Owner{Realm: "corp", Name: name} }

// people are u1 to un.
func people(n int) []token.Owner {
	var list []token.Owner
	for i := range n {
		list = append(list, owner(fmt.Sprint("u", i+1)))
	}
	return list
}

// count is how many are present, absent and in doubt.
func count(verdicts []directory.Verdict) string {
	n := map[directory.State]int{}
	for _, v := range verdicts {
		n[v.State]++
	}
	return fmt.Sprintf("%d present, %d absent, %d doubts", n[directory.Present], n[directory.Absent], n[directory.CannotTell])
}

// cannotTell checks that nothing was answered, and that the message says why.
func cannotTell(t testing.TB, d *Directory, why string, owners ...token.Owner) {
	t.Helper()
	verdicts, err := d.Presence(context.Background(), owners)
	if len(verdicts) > 0 {
		t.Errorf("verdicts: %s", count(verdicts))
	}
	isCannotTell(t, err, why)
	f, err := directory.Survey(context.Background(), d, func(yield func(directory.Known, error) bool) {
		for _, o := range owners {
			if !yield(directory.Known{Owner: o}, nil) {
				return
			}
		}
	})
	if len(f.Absent) > 0 || f.Asked > 0 {
		t.Errorf("Survey found %d absent of %d", len(f.Absent), f.Asked)
	}
	isCannotTell(t, err, why)
}

func isCannotTell(t testing.TB, err error, why string) {
	t.Helper()
	if !errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrUsage) || !strings.Contains(fmt.Sprint(err), why) {
		t.Errorf("the error is %v, want a token.ErrCannotTell with %q", err, why)
	}
}

// doubts checks that of nobody anything is said, and why.
func doubts(t testing.TB, d *Directory, why string, owners ...token.Owner) {
	t.Helper()
	verdicts, err := d.Presence(context.Background(), owners)
	must(t, err)
	for _, v := range verdicts {
		if v.State != directory.CannotTell || !strings.Contains(v.Why, why) {
			t.Errorf("%s is %s: %q, want a doubt with %q", v.Owner, v.State, v.Why, why)
		}
	}
}

func login(d *Directory, name, password string) (directory.Identity, error) {
	return d.Authenticate(context.Background(), name, secret.FromText(password))
}

func refused(t testing.TB, d *Directory, name, password string) {
	t.Helper()
	if id, err := login(d, name, password); !errors.Is(err, token.ErrRefused) || errors.Is(err, token.ErrCannotTell) || id.Owner != (token.Owner{}) {
		t.Errorf("%q, %q: %v (%v), want a refusal", name, password, id, err)
	}
}

func accepted(t testing.TB, d *Directory, name, password string) directory.Identity {
	t.Helper()
	id, err := login(d, name, password)
	if err != nil {
		t.Errorf("%q, %q: %v", name, password, err)
	}
	return id
}

// silent is the URL of a server that takes connections and says nothing.
func silent(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	return "ldap://" + l.Addr().String()
}

func writeFile(t testing.TB, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(path, []byte(text), mode))
	must(t, os.Chmod(path, mode))
	return path
}

// quick gives up after so long.
func quick(limit time.Duration) func(*Options) {
	return func(o *Options) { o.DialTimeout, o.Timeout = limit, limit }
}
