//go:build linux

package cmd_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// office is a machine whose store has the tokens of corp/u1 to corp/un, two of
// every third, and of local/alice and idp/u1, whom no directory knows.
func office(t *testing.T, n int, config string) *machine {
	t.Helper()
	m := newMachine(t)
	must(t, os.MkdirAll(m.folder(), 0o700))
	keys, err := keyfile.Create(m.key(), time.Now())
	must(t, err)
	must(t, bolt.Create(m.db()))
	s, err := bolt.Open(bolt.Options{Path: m.db(), Exclusive: true, NoSync: true})
	must(t, err)
	local := authority.New(authority.Options{Store: s, Keys: keys})
	me := authority.Caller{Owner: token.Owner{Realm: token.LocalRealm, Name: systemUserName()}, Via: "a test", FileOwner: true}
	_, err = local.As(me).SetPolicy(t.Context(), map[string]string{"retention": "400d"})
	must(t, err)
	hasher := secret.NewHasher(keys.Hashing(), secret.HasherOptions{})
	put := func(o token.Owner, tokens int) {
		must(t, s.Update(t.Context(), func(w store.Writer) error {
			for i := range tokens {
				now := time.Now().UTC().Truncate(time.Second)
				rec := token.Record{
					ID: secret.NewID(now), Kind: token.Refresh, Owner: o, CreatedBy: o, Name: fmt.Sprint("t", i), Connection: token.DefaultConnection,
					CreatedAt: now, ExpiresAt: now.Add(token.Day), Revision: 1, LastChange: token.Made,
				}
				rec.Verifier = hasher.Fast(secret.Use{Kind: "refresh", ID: rec.ID}, secret.New(secret.RefreshToken, rec.ID))
				if err := store.PutToken(w, nil, &rec); err != nil {
					return err
				}
			}
			return store.Accounts.Put(w, token.Account{Owner: o, Kind: token.Person, Revision: 1})
		}))
	}
	for i := range n {
		tokens := 1
		if i%3 == 0 {
			tokens = 2
		}
		put(token.Owner{Realm: "corp", Name: fmt.Sprint("u", i+1)}, tokens)
	}
	put(token.Owner{Realm: token.LocalRealm, Name: "alice"}, 1)
	put(token.Owner{Realm: "idp", Name: "u1"}, 1)
	must(t, s.Close())
	m.configure(config)
	return m
}

// configure writes the config file.
func (m *machine) configure(text string) {
	m.t.Helper()
	folder := filepath.Join(m.home, ".config", "tokenctl")
	must(m.t, os.MkdirAll(folder, 0o700))
	must(m.t, os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(text), 0o600))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// corp is the config of a directory, with changes: key, value.
func corp(s *slapd.Server, changes ...string) string {
	keys := []string{
		"name", "corp", "kind", "ldap", "url", s.URL, "bind_dn", slapd.Service, "bind_password_file", s.PasswordFile,
		"base_dn", slapd.People, "canary", slapd.Canary,
	}
	for i := 0; i < len(changes); i += 2 {
		if at := slices.Index(keys, changes[i]); at >= 0 && at%2 == 0 {
			keys[at+1] = changes[i+1]
		} else {
			keys = append(keys, changes[i], changes[i+1])
		}
	}
	text := "directories:\n  - {"
	for i := 0; i < len(keys); i += 2 {
		if keys[i+1] != "" {
			text += fmt.Sprintf("%s: %q, ", keys[i], keys[i+1])
		}
	}
	return text + "}\n"
}

// live are the owners of all tokens that live, one for each, sorted.
func (m *machine) live() []string {
	m.t.Helper()
	owners := strings.Split(m.must("", "list", "--all-owners", "--jq", ".[].owner"), "\n")
	slices.Sort(owners)
	return owners
}

// answered reads the JSON answer of a process that has ended well.
func answered[T any](m *machine, args ...string) (v T) {
	m.t.Helper()
	must(m.t, json.Unmarshal([]byte(m.must("", args...)), &v))
	return v
}

// TestPurgeOrphans: of 1,000 owners 60 are gone, and exactly their tokens go,
// from a file and at a server.
func TestPurgeOrphans(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 940, SizeLimit: 500})
	for _, where := range []string{"file", "server"} {
		t.Run(where, func(t *testing.T) {
			m := office(t, 1000, corp(s))
			if where == "server" {
				m.serve()
			}
			before := m.live()
			var gone, want []string
			for i := 941; i <= 1000; i++ {
				gone = append(gone, fmt.Sprint("corp/u", i))
			}
			for _, o := range before {
				if !slices.Contains(gone, o) {
					want = append(want, o)
				}
			}
			slices.Sort(gone)
			plan := answered[orphans.Plan](m, "purge-orphans", "--dry-run", "-o", "json")
			var named []string
			for _, o := range plan.Orphans {
				named = append(named, o.Owner.String())
			}
			if diff := cmp.Diff(gone, named); diff != "" {
				t.Fatalf("a dry run: -want +got:\n%s", diff)
			}
			if got := strings.Split(m.must("", "admin", "purge", "--dry-run", "-o", "name"), "\n"); !slices.Equal(got, gone) {
				t.Errorf("a dry run names %d owners", len(got))
			}
			r := m.run("", "purge-orphans")
			m.ends(r, 7, "not confirmed: remove 80 tokens of owners who are gone (60 of 1000 owners in corp)?", "corp/u941")
			if got := m.live(); !slices.Equal(got, before) {
				t.Fatal("tokens are gone without a yes")
			}

			rep := answered[orphans.Report](m, "purge-orphans", "--yes", "-o", "json")
			wantReport := orphans.Report{
				Plan: rep.Plan, Owners: 60, Tokens: 80, Stewardless: []orphans.Stewardless{},
				Realms: []orphans.Purged{{Realm: "corp", Asked: 1000, Owners: 60, Tokens: 80}},
			}
			if diff := cmp.Diff(wantReport, rep); diff != "" {
				t.Errorf("the report: -want +got:\n%s", diff)
			}
			if diff := cmp.Diff(want, m.live()); diff != "" {
				t.Errorf("what lives: -want +got:\n%s", diff)
			}
			m.remembers(plan, rep)
			if again := m.run("", "purge-orphans"); again.code != 0 || !strings.Contains(again.err, "corp: 940 owners asked about, 0 tokens of 0 owners removed") {
				t.Errorf("nothing is left, but: %v", again)
			}
		})
	}
}

// remembers checks that tombstones and audit log tell of exactly the tokens of
// a plan.
func (m *machine) remembers(plan orphans.Plan, rep orphans.Report) {
	m.t.Helper()
	var ids []string
	for _, o := range plan.Orphans {
		for _, tok := range o.Tokens {
			ids = append(ids, tok.ID.String())
		}
	}
	slices.Sort(ids)
	reason := "orphan purge " + rep.Plan[:16] + ": the directory does not know the owner"
	tombstones := strings.Split(m.must("", "list", "--all", "--all-owners", "--status", "revoked", "--jq", fmt.Sprintf(`.[] | select(.revoked_reason == %q).id`, reason)), "\n")
	slices.Sort(tombstones)
	if diff := cmp.Diff(ids, tombstones); diff != "" {
		m.t.Errorf("tombstones: -want +got:\n%s", diff)
	}
	audited := strings.Split(m.must("", "admin", "audit", "list", "--jq", fmt.Sprintf(`.[] | select(.action == "token.revoke" and .reason == %q).token`, reason)), "\n")
	slices.Sort(audited)
	if diff := cmp.Diff(ids, audited); diff != "" {
		m.t.Errorf("the audit log: -want +got:\n%s", diff)
	}
	m.must("", "admin", "audit", "verify")
}

// Three tenths are gone: that is rather the directory's fault.
func TestPurgeBreaker(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 70})
	m := office(t, 100, corp(s))
	before := state(t, m.folder())
	for _, args := range [][]string{nil, {"--max-orphans", "29"}} {
		r := m.run("", append([]string{"purge-orphans", "--yes"}, args...)...)
		m.ends(r, 7, "30 of the 100 owners of the realm corp would be orphans", "--max-orphans 30")
	}
	r := m.run("", "purge-orphans", "--dry-run", "-o", "name")
	m.ends(r, 0, "a purge would stop: 30 of the 100 owners")
	if n := len(strings.Fields(r.out)); n != 30 {
		t.Errorf("a dry run names %d owners", n)
	}
	m.ends(m.run("", "purge-orphans", "--yes", "--max-orphans", "0"), 2)
	untouched(t, m.folder(), before)
	m.ends(m.run("", "purge-orphans", "--yes", "--max-orphans", "30"), 0, "40 tokens of 30 owners removed")
}

// A plan is applied exactly as it was made, or not at all.
func TestPurgePlan(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 95})
	m := office(t, 100, corp(s))
	file := filepath.Join(m.home, "plan.json")
	r := m.run("", "purge-orphans", "--plan", file)
	m.ends(r, 0, "7 tokens of 5 owners would be removed")
	info, err := os.Stat(file)
	must(t, err)
	if info.Mode() != 0o600 || r.out != "" {
		t.Errorf("the plan has mode %v; %v", info.Mode(), r)
	}
	m.ends(m.run("", "purge-orphans", "--plan", file), 5, "is there already")
	m.ends(m.run("", "purge-orphans", "--apply", file), 7, "not confirmed", "corp/u96")
	m.ends(m.run("", "purge-orphans", "--apply", file, "--dry-run"), 2, "exclude each other")
	m.ends(m.run("", "purge-orphans", "--apply", file+"x", "--yes"), 2, "no such file")
	m.ends(m.run("", "purge-orphans", "--apply", m.home, "--yes"), 2, "no regular file")

	must(t, func() error {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return os.WriteFile(file+".changed", []byte(strings.Replace(string(text), "corp/u96", "corp/u1", 1)), 0o600)
	}())
	m.ends(m.run("", "purge-orphans", "--apply", file+".changed", "--yes"), 2, "not as it was made")

	// Somebody is there again.
	s.Add("u97", "")
	before := state(t, m.folder())
	m.ends(m.run("", "purge-orphans", "--apply", file, "--yes"), 5, "the directory knows corp/u97 now")
	untouched(t, m.folder(), before)
	s.Remove("u97")

	// One token has changed.
	id := strings.Fields(m.must("", "list", "--owner", "corp/u96", "-o", "name"))[0]
	m.must("", "suspend", id, "--yes")
	before = state(t, m.folder())
	m.ends(m.run("", "purge-orphans", "--apply", file, "--yes"), 5, "the token "+id+" has changed since the plan was made")
	untouched(t, m.folder(), before)

	again := filepath.Join(m.home, "again.json")
	m.must("", "purge-orphans", "--plan", again)
	m.ends(m.run("", "purge-orphans", "--apply", again, "--yes"), 0, "7 tokens of 5 owners removed")
	m.ends(m.run("", "purge-orphans", "--apply", again, "--yes"), 0, "0 tokens of 0 owners removed")
}

// Whatever is wrong with the directory, nothing is removed and the message says
// what it is.
func TestPurgeFailures(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 95})
	m := office(t, 100, corp(s))
	plan := filepath.Join(m.home, "plan.json")
	m.must("", "purge-orphans", "--plan", plan)
	wrong := filepath.Join(m.home, "wrong-password")
	must(t, os.WriteFile(wrong, []byte("wrong\n"), 0o600))
	referring := slapd.Start(t, slapd.Options{People: 95, LDIF: slapd.Elsewhere})
	limited := slapd.Start(t, slapd.Options{People: 619, SizeLimit: 500})
	down := slapd.Start(t, slapd.Options{})
	downURL := down.URL
	down.Kill()
	for name, test := range map[string]struct{ says, config string }{
		"slapd down":              {"connection refused", corp(s, "url", downURL)},
		"wrong bind password":     {"refuses the bind", corp(s, "bind_password_file", wrong)},
		"wrong filter":            {"canary canary was not found", corp(s, "user_filter", "(&(objectClass=posixAccount)(uid={name}))")},
		"wrong filter, no canary": {"knows none of the 100 owners", corp(s, "user_filter", "(&(objectClass=posixAccount)(uid={name}))", "canary", "")},
		"canary missing":          {"canary gone was not found", corp(s, "canary", "gone")},
		"wrong base":              {"does not exist", corp(s, "base_dn", "ou=persons,"+slapd.Suffix)},
		"base without people":     {"canary canary was not found", corp(s, "base_dn", slapd.Groups)},
		"size limit":              {"size limit", corp(limited, "user_filter", "(|(uid={name})(objectClass=person))")},
		"killed in the middle":    {"corp", corp(s, "url", cutting(t, s.URL, 3000))},
		"unknown authority":       {"TLS failed", corp(s, "url", s.TLSURL)},
		"referral":                {"referrals are not followed", corp(referring)},
	} {
		t.Run(name, func(t *testing.T) {
			m.configure(test.config)
			before := state(t, m.folder())
			for _, args := range [][]string{{"--yes"}, {"--yes", "--max-orphans", "1000"}, {"--dry-run"}, {"--apply", plan, "--yes", "--max-orphans", "1000"}} {
				m.ends(m.run("", append([]string{"purge-orphans"}, args...)...), 6, test.says)
			}
			untouched(t, m.folder(), before)
		})
	}
	m.configure(corp(s))
	m.ends(m.run("", "purge-orphans", "--apply", plan, "--yes"), 0, "7 tokens of 5 owners removed")
}

// cutting is the URL of a way to a server that breaks off once it has brought
// so many bytes of answers.
func cutting(t *testing.T, url string, after int64) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", strings.TrimPrefix(url, "ldap://"))
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in)
				io.CopyN(in, out, after)
			}()
		}
	}()
	return "ldap://" + l.Addr().String()
}

// A purge that was killed is finished by the same command.
func TestPurgeKilled(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 300})
	m := office(t, 700, corp(s))
	before := m.live()
	args := []string{"purge-orphans", "--yes", "--max-orphans", "400"}
	for delay := 50 * time.Millisecond; ; delay = delay * 5 / 4 {
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		c := m.command(ctx, args...) // which kills it
		err := c.Run()
		cancel()
		if err == nil {
			break
		}
		if delay > patience {
			t.Fatal("it never ends")
		}
	}
	m.ends(m.run("", args...), 0, "0 tokens of 0 owners removed")
	var want []string
	for _, o := range before {
		name, is := strings.CutPrefix(o, "corp/u")
		if n, _ := strconv.Atoi(name); !is || n <= 300 {
			want = append(want, o)
		}
	}
	if diff := cmp.Diff(want, m.live()); diff != "" {
		t.Errorf("what lives: -want +got:\n%s", diff)
	}
	m.must("", "admin", "check", "--deep")
}

// On a terminal a person sees who is meant, and says yes.
func TestPurgeOnTerminal(t *testing.T) {
	t.Parallel()
	s := slapd.Start(t, slapd.Options{People: 30})
	m := office(t, 32, corp(s))
	no := m.sit(t, nil, "purge-orphans")
	no.expect("corp/u32")
	no.expect("remove 3 tokens of owners who are gone (2 of 32 owners in corp)? [y/N]")
	no.send("\n")
	no.end(7, "not confirmed, nothing was changed")
	// Whoever is asked has seen it, whatever a program is to get.
	for _, args := range [][]string{{"purge-orphans"}, {"revoke", "--owner", "corp/u31"}} {
		var out bytes.Buffer
		no = m.sit(t, func(c *exec.Cmd) { c.Stdout = &out }, append(args, "-o", "json")...)
		no.expect("[y/N]")
		no.send("\n")
		no.end(7, "corp/u31")
	}
	yes := m.sit(t, nil, "purge-orphans")
	yes.expect("[y/N]")
	yes.send("y\n")
	yes.end(0, "corp: 32 owners asked about, 3 tokens of 2 owners removed")
}

// A server that is long about it does not look like one that hangs.
func TestPurgeOnTerminalOverServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { silent.Close() })
	m := office(t, 1, fmt.Sprintf("directories: [{name: corp, kind: ldap, url: %q, base_dn: %q, timeout: 4s}]\n", "ldap://"+silent.Addr().String(), slapd.People))
	s := m.serve()
	p := m.sit(t, nil, "purge-orphans")
	p.expect("the server asks its directories, seconds: 2")
	p.end(6, "corp")
	s.stop()
}

// With a list it is the same: what is no whole list says nothing of anybody.
func TestPurgeList(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "staff.txt")
	m := office(t, 40, fmt.Sprintf("directories: [{name: corp, kind: list, file: %q}]\n", file))
	there := "# who works here\n"
	for i := range 38 {
		there += fmt.Sprint("U", i+1, "\n")
	}
	before := state(t, m.folder())
	for says, text := range map[string]string{
		"cut off": there[:len(there)-1], "names nobody": "# later\n", "knows none of the 40 owners": "x\n", "line 40": there + "a\u200bb\n",
	} {
		must(t, os.WriteFile(file, []byte(text), 0o600))
		m.ends(m.run("", "purge-orphans", "--yes", "--max-orphans", "40"), 6, says)
	}
	must(t, os.Remove(file))
	m.ends(m.run("", "purge-orphans", "--yes", "--max-orphans", "40"), 6, "no such file")
	untouched(t, m.folder(), before)
	must(t, os.WriteFile(file, []byte(there), 0o600))
	m.ends(m.run("", "purge-orphans", "--yes"), 0, "corp: 40 owners asked about, 3 tokens of 2 owners removed")
	left := m.live()
	if slices.Contains(left, "corp/u39") || slices.Contains(left, "corp/u40") || len(left) != 38+13+2 {
		t.Errorf("what lives: %v", left)
	}
}
