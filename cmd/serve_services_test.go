//go:build linux

package cmd_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/testdata/needs"
	"github.com/tokenctl/tokenctl/testdata/slapd"
)

// mailroom is a server of tokens beside a directory into which it writes the
// passwords of the service imap. Everybody has been there before.
func mailroom(t *testing.T, more string, people ...string) (*machine, *slapd.Server, *running) {
	t.Helper()
	d := slapd.Start(t, slapd.Options{Passwords: true})
	m := newMachine(t)
	m.configure(corp(d) + "provisioners:\n  - {name: mail-ldap, kind: ldap, directory: corp, scheme: ARGON2, order: 10}\n" + more)
	m.must("", "admin", "service", "add", "imap", "--realm", "corp", "--provision", "mail-ldap", "--enable")
	m.must("", "admin", "service", "add", "webdav", "--realm", "corp", "--enable")
	s := m.serveHere()
	for _, name := range people {
		d.Add(name, ownPassword(name))
		m.must(ownPassword(name), "login", "--server", "http://"+s.main, "--user", "corp/"+name, "-")
	}
	return m, d, s
}

// serveHere is serve, whatever context is the current one.
func (m *machine) serveHere() *running {
	m.t.Helper()
	return m.serve("--store", "bolt://"+m.db())
}

func ownPassword(name string) string { return name + "'s own password" }

// takes checks which passwords the directory takes of a person: of those that
// are named the first so many, and no others.
func takes(t *testing.T, d *slapd.Server, name string, good int, passwords ...string) bool {
	t.Helper()
	for i, p := range passwords {
		if code := d.Bind(slapd.DN(name), p); code != 0 && code != 49 {
			t.Fatalf("%s binds: %d", name, code)
		} else if (code == 0) != (i < good) {
			return false
		}
	}
	return d.Bind(slapd.DN(name), ownPassword(name)) == 0
}

// userPassword is one change of a password, as slapd notes it.
var userPassword = regexp.MustCompile(`^dn: uid=(\w+),` + slapd.People + `\nchangetype: modify\n(add|delete): userPassword\nuserPassword:: (\S+)\n-\n` +
	`replace: entryCSN\nentryCSN: \S+\n-\nreplace: modifiersName\nmodifiersName: ` + slapd.Service + `\n-\nreplace: modifyTimestamp\nmodifyTimestamp: \S+\n-\n`)

// leftIn fails if the directory noted a change that is not of one value of
// userPassword, in argon2, which was there before if it was taken away. It
// returns the number of those that are there now.
func leftIn(t *testing.T, d *slapd.Server) int {
	t.Helper()
	ours := map[string]bool{}
	for record := range strings.SplitSeq(strings.ReplaceAll(d.Changes(), "\n ", ""), "\n\n") {
		if !strings.Contains(record, slapd.Service) {
			continue // of the test
		}
		text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(record+"\n", "")
		c := userPassword.FindStringSubmatch(text)
		if c == nil || len(c[0]) != len(strings.TrimRight(text, "\n"))+1 {
			t.Errorf("an unexpected change:\n%s", text)
			continue
		}
		value, err := base64.StdEncoding.DecodeString(c[3])
		if err != nil || !strings.HasPrefix(string(value), "{ARGON2}$argon2id$v=19$m=") {
			t.Errorf("the value %q: %v", value, err)
		}
		key := c[1] + " " + string(value)
		if (c[2] == "add") == ours[key] {
			t.Errorf("a second %s of %s", c[2], key)
		}
		if ours[key] = true; c[2] == "delete" {
			delete(ours, key)
		}
	}
	return len(ours)
}

// The password of a service is one more in the directory, for as long as it is
// good, and nothing else there is touched; over a file, and over a server.
func TestServicesDirectory(t *testing.T) {
	t.Parallel()
	for _, over := range []string{"file", "server"} {
		t.Run(over, func(t *testing.T) {
			t.Parallel()
			whoami := needs.Program(t, "ldapwhoami")
			m, d, s := mailroom(t, "", "alice", "bob")
			if over == "file" {
				s.stop()
			}
			becomes := func(what string, good int, passwords ...string) {
				t.Helper()
				if over == "file" {
					if !takes(t, d, "alice", good, passwords...) {
						t.Errorf("%s: the directory does not take the right ones", what)
					}
					return
				}
				eventually(t, what, func() bool { return takes(t, d, "alice", good, passwords...) })
			}
			made := m.here("generate", "service", "imap", "--owner", "corp/alice", "--wait", "-o", "json")
			var first struct{ ID, Password string }
			if err := json.Unmarshal([]byte(made), &first); err != nil || !regexp.MustCompile(`^[A-Za-z0-9]{15}$`).MatchString(first.Password) {
				t.Fatalf("%s: %v", made, err)
			}
			for _, password := range []string{first.Password, ownPassword("alice")} {
				out, err := exec.CommandContext(t.Context(), whoami, "-x", "-H", d.URL, "-D", slapd.DN("alice"), "-w", password).CombinedOutput()
				if string(out) != "dn:"+slapd.DN("alice")+"\n" {
					t.Errorf("ldapwhoami: %q, %v", out, err)
				}
			}
			becomes("made", 1, first.Password, "another", strings.ToLower(first.Password), strings.ToUpper(first.Password))
			values := d.Values(slapd.DN("alice"), "userPassword")
			slices.Sort(values)
			if len(values) != 2 || values[0] != ownPassword("alice") || !regexp.MustCompile(`^\{ARGON2\}\$argon2id\$v=19\$m=\d+,t=\d+,p=\d+\$[\w+/]+\$[\w+/]+$`).MatchString(values[1]) {
				t.Errorf("the values are %q", values)
			}
			if d.Bind(slapd.DN("bob"), first.Password) == 0 {
				t.Error("bob gets in with alice's")
			}

			m.here("suspend", first.ID)
			becomes("suspended", 0, first.Password)
			m.here("resume", first.ID)
			becomes("resumed", 1, first.Password)
			m.here("admin", "user", "disable", "corp/alice")
			becomes("its owner disabled", 0, first.Password)
			m.here("admin", "user", "enable", "corp/alice")
			becomes("its owner enabled", 1, first.Password)
			m.here("admin", "service", "disable", "imap")
			becomes("its service disabled", 0, first.Password)
			m.here("admin", "service", "enable", "imap")
			becomes("its service enabled", 1, first.Password)
			m.here("admin", "service", "set", "imap", "--provision", "none")
			becomes("provisioned no more", 0, first.Password)
			m.here("admin", "service", "set", "imap", "--provision", "mail-ldap")
			becomes("provisioned again", 1, first.Password)

			rotated := m.here("rotate", first.ID, "--grace", "1h")
			becomes("rotated with grace", 2, first.Password, rotated)
			again := m.here("rotate", first.ID)
			becomes("rotated", 1, again, rotated, first.Password)
			replaced := m.here("generate", "service", "imap", "--owner", "corp/alice", "--yes")
			becomes("replaced", 1, replaced, again)
			if n := leftIn(t, d); n != 1 {
				t.Errorf("%d passwords are left in the directory, not 1", n)
			}
			m.here("revoke", "--owner", "corp/alice", "--service", "imap", "--yes")
			becomes("revoked", 0, replaced, again, rotated, first.Password)

			deleted := m.here("generate", "service", "imap", "--owner", "corp/alice", "--wait")
			becomes("made once more", 1, deleted)
			m.here("delete", "--owner", "corp/alice", "--service", "imap", "--yes")
			becomes("deleted", 0, deleted)
			if over == "server" {
				short := m.here("generate", "service", "imap", "--owner", "corp/alice", "--lifetime", "3s", "--wait")
				becomes("made for a while", 1, short)
				becomes("expired", 0, short)
			}
			// Who is gone from there is no reason to go on trying.
			m.here("generate", "service", "imap", "--owner", "corp/bob", "--wait")
			d.Remove("bob")
			m.here("revoke", "--owner", "corp/bob", "--service", "imap", "--yes")
			eventually(t, "all is told", func() bool { return m.here("admin", "provision", "list", "--pending", "-o", "name") == "" })
			if n := leftIn(t, d); n != 1 { // bob's, which went with him
				t.Errorf("%d passwords are left in the directory, not 1", n)
			}
			if values := d.Values(slapd.DN("alice"), "userPassword"); !slices.Equal(values, []string{ownPassword("alice")}) {
				t.Errorf("the values are %q", values)
			}
			if over == "server" {
				s.stop()
			}
		})
	}
}

// told is what a command of ours was told, or tried in vain.
func told(t *testing.T, path string) (events []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct{ Event, Action string }
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event == "" || e.Action == "" {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, e.Action+" "+e.Event)
	}
	return events
}

// A directory that is down keeps nobody from a password, and hears of it when it
// is back, from a server that was killed meanwhile too.
func TestServicesDirectoryDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken, heard := filepath.Join(dir, "broken"), filepath.Join(dir, "heard")
	m, d, s := mailroom(t, fmt.Sprintf("  - {name: hook, kind: exec, order: 10, command: [/bin/sh, -c, 'cat >> %s; ! test -e %s']}\n", heard, broken), "alice", "bob")
	m.here("admin", "service", "set", "imap", "--provision", "mail-ldap,hook")
	pending := func() string {
		return m.here("admin", "provision", "list", "--jq", `[.[] | select(.status == "pending") | .provisioner + " " + .owner] | sort | join(", ")`)
	}
	events := func() string { return m.here("admin", "provision", "list", "--jq", `[.[].event] | sort | join(" ")`) }

	put(t, broken, nil)
	d.Stop()
	r := m.run("", "generate", "service", "imap", "--owner", "corp/alice", "--store", "bolt://"+m.db())
	m.ends(r, 0, "tokenctl: warning: not told yet, and tried again: ", "mail-ldap (", "hook (")
	alice := strings.TrimSuffix(r.out, "\n")
	r = m.run("", "generate", "service", "imap", "--owner", "corp/bob", "--wait", "--store", "bolt://"+m.db())
	m.ends(r, 6, "the password is made, but not told yet", "hint: tokenctl admin provision list ")
	bob := strings.TrimSuffix(r.out, "\n")
	if got := pending(); got != "hook corp/alice, hook corp/bob, mail-ldap corp/alice, mail-ldap corp/bob" {
		t.Errorf("pending is %s", got)
	}
	if got := m.here("admin", "provision", "status", "--jq", `.[] | select(.name == "mail-ldap") | "\(.tokens) \(.pending) \(.failing) \(.error)"`); !strings.HasPrefix(got, "2 2 2 ") || !strings.Contains(got, "connection refused") {
		t.Errorf("the status is %s", got)
	}
	// To us they are good.
	for name, password := range map[string]string{"alice": alice, "bob": bob} {
		if status, _, _ := s.ask("GET", "/verify/service/imap", name+":"+password); status != http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
	}
	before, tried := events(), told(t, heard)

	s.kill()
	s = m.serveHere()
	if got := events(); got != before {
		t.Errorf("the events were %s, and are %s after a kill", before, got)
	}
	eventually(t, "it tries again after a kill", func() bool { return len(told(t, heard)) > len(tried) })
	d.Restart()
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	// Had it been killed in the middle of telling, it would take a minute more.
	for pending() != "" && time.Since(began) < 3*time.Minute {
		time.Sleep(50 * time.Millisecond)
	}
	if !takes(t, d, "alice", 1, alice, bob) || !takes(t, d, "bob", 1, bob, alice) {
		t.Error("the directory does not take their passwords")
	}
	t.Logf("told %s after the directory is back", time.Since(began).Round(time.Millisecond))
	for _, e := range told(t, heard) {
		if action, id, _ := strings.Cut(e, " "); action != "present" || !strings.Contains(before, id) {
			t.Errorf("the hook was told of %s; the events are %s", e, before)
		}
	}
	if n := leftIn(t, d); n != 2 {
		t.Errorf("%d passwords are in the directory, not 2", n)
	}

	// The other way round: what is revoked while it is down is withdrawn.
	d.Stop()
	m.here("revoke", "--owner", "corp/alice", "--service", "imap", "--yes")
	d.Restart()
	eventually(t, "it is withdrawn", func() bool { return takes(t, d, "alice", 0, alice) })
	if n := leftIn(t, d); n != 1 {
		t.Errorf("%d passwords are in the directory, not 1", n)
	}
	s.stop()
}

// Killed between having told and having noted it, it tells again, of the same
// event.
func TestServicesKilledWhileTelling(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	heard, slow := filepath.Join(dir, "heard"), filepath.Join(dir, "slow")
	m := newMachine(t)
	m.configure(fmt.Sprintf("provisioners:\n  - {name: hook, kind: exec, command: [/bin/sh, -c, 'cat >> %s; if test -e %s; then sleep 20; fi']}\n", heard, slow))
	m.must("", "admin", "service", "add", "imap", "--provision", "hook", "--enable")
	put(t, slow, nil)
	s := m.serve()
	c := m.command(t.Context(), "generate", "service", "imap")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	eventually(t, "it is told", func() bool { return len(told(t, heard)) == 1 })
	s.kill()
	if err := os.Remove(slow); err != nil {
		t.Fatal(err)
	}
	s = m.serve()
	if got := m.here("admin", "provision", "list", "--jq", ".[0].status"); got != "pending" {
		t.Errorf("it is %s", got)
	}
	// Whoever was killed had it for a minute.
	began := time.Now()
	for len(told(t, heard)) < 2 && time.Since(began) < 2*time.Minute {
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("told again after %s", time.Since(began).Round(time.Second))
	if events := told(t, heard); len(events) != 2 || events[0] != events[1] {
		t.Errorf("it was told of %q", events)
	}
	eventually(t, "it is noted", func() bool { return m.here("admin", "provision", "list", "--jq", ".[0].status") == "delivered" })
	s.stop()
}

// A password is good for its user at its service, and all that is not is
// refused in the same way.
func TestServeServices(t *testing.T) {
	t.Parallel()
	m, _, s := mailroom(t, "", "alice", "bob", "carol")
	passwords, ids := map[string]string{}, map[string]string{}
	made := func(name string, args ...string) {
		passwords[name] = m.here(append(args, "generate", "service", "imap", "--owner", "corp/"+name)...)
		ids[name] = m.here("list", "--owner", "corp/"+name, "--service", "imap", "-o", "name")
	}
	made("alice")
	made("bob")
	made("carol")
	webdav := m.here("generate", "service", "webdav", "--owner", "corp/alice")
	user := m.here("generate", "--owner", "local/"+systemUserName())
	const path = "/verify/service/imap"
	refused := func(what, path, credential string) {
		t.Helper()
		status, header, body := s.ask("GET", path, credential)
		if status != http.StatusUnauthorized || body != `{"valid":false}`+"\n" || header.Get("X-Auth-User") != "" {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	accepted := func(what, path, user, name string) {
		t.Helper()
		status, header, body := s.ask("GET", path, user+":"+passwords[name])
		if status != http.StatusOK || header.Get("X-Auth-User") != "corp/"+name || header.Get("X-Auth-Kind") != "service" || header.Get("X-Auth-Token") != ids[name] {
			t.Errorf("%s: %d %v %s", what, status, header, body)
		}
	}
	accepted("hers", path, "alice", "alice")
	accepted("by her whole name", path, "corp/alice", "alice")
	accepted("by another spelling", path, "Alice", "alice")
	accepted("with what a proxy appends", path+"/-/mail", "alice", "alice")

	// Of each person and service few, for wrong ones get slower.
	alices := passwords["alice"]
	refused("of another service", path, "alice:"+webdav)
	refused("at another service", "/verify/service/webdav", "alice:"+alices)
	refused("at none", "/verify", "alice:"+alices)
	refused("at no such service", "/verify/service/nope", "alice:"+alices)
	refused("at a service in other letters", "/verify/service/IMAP", "alice:"+alices)
	refused("somebody else's", path, "bob:"+alices)
	refused("of another realm", path, "local/alice:"+alices)
	refused("of nobody", path, "nobody:"+alices)
	refused("as Bearer", path, alices)
	refused("a user token", path, user)
	refused("her own password", path, "alice:"+ownPassword("alice"))
	refused("in other letters", path, "alice:"+flipLast(alices, func(c rune) bool { return c > '9' }, swapCase))
	refused("not all of it", path, "alice:"+alices[:14])
	refused("more than it", path, "alice:"+alices+" ")
	accepted("hers after those", path, "alice", "alice")

	m.here("suspend", ids["bob"])
	refused("suspended", path, "bob:"+passwords["bob"])
	m.here("resume", ids["bob"])
	accepted("resumed", path, "bob", "bob")
	m.here("admin", "user", "disable", "corp/bob")
	refused("its owner disabled", path, "bob:"+passwords["bob"])
	m.here("admin", "user", "enable", "corp/bob")
	accepted("its owner enabled", path, "bob", "bob")
	m.here("admin", "service", "disable", "imap")
	refused("its service disabled", path, "carol:"+passwords["carol"])
	m.here("admin", "service", "enable", "imap")
	accepted("enabled again", path, "carol", "carol")
	if got := m.here("list", "--services", "--owner", "corp/carol", "--jq", ".[0].token.last_used_at != null"); got != "true" {
		t.Errorf("last used: %s", got)
	}
	old := passwords["carol"]
	made("carol", "--yes")
	refused("replaced", path, "carol:"+old)
	accepted("in its place", path, "carol", "carol")
	m.here("revoke", ids["carol"])
	refused("revoked", path, "carol:"+passwords["carol"])
	s.stop()
	for _, secret := range []string{alices, old, webdav, passwords["bob"], passwords["carol"]} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("a password is in the log:\n%s", s.log)
		}
	}
}

// peak is the most memory that a process has had, in MB.
func (s *running) peak() float64 {
	s.m.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Pid))
	if err != nil {
		s.m.t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`).FindSubmatch(text)
	if m == nil {
		s.m.t.Fatalf("no VmHWM:\n%s", text)
	}
	kb, _ := strconv.Atoi(string(m[1]))
	return float64(kb) / 1024
}

// Guessing costs neither memory without bound, nor anybody their access: who was
// in of late does not notice, and a first use has its turn.
func TestServeServicesGuessed(t *testing.T) {
	t.Parallel()
	m, _, s := mailroom(t, "", "alice", "bob", "carol")
	passwords := map[string]string{}
	for _, name := range []string{"alice", "bob", "carol"} {
		passwords[name] = m.here("generate", "service", "imap", "--owner", "corp/"+name, "--wait")
	}
	// At most 60 s: a question that waits longer has failed.
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
	ask := func(name, password string) (int, time.Duration) {
		began := time.Now()
		status, _, _ := ask(t, client, "GET", "http://"+s.main+"/verify/service/imap", name+":"+password)
		return status, time.Since(began)
	}
	if status, _ := ask("alice", passwords["alice"]); status != http.StatusOK {
		t.Fatalf("alice, at first: %d", status)
	}
	before := s.peak()
	for _, guessed := range []string{"alice", "carol"} {
		var guesses sync.WaitGroup
		var slowest, first, remembered time.Duration
		var mu sync.Mutex
		outcomes := map[int]int{}
		start := make(chan struct{})
		for i := range 100 {
			guesses.Go(func() {
				<-start
				status, took := ask(guessed, fmt.Sprintf("Wrong%010d", i))
				mu.Lock()
				defer mu.Unlock()
				outcomes[status]++
				slowest = max(slowest, took)
			})
		}
		done := make(chan struct{})
		go func() { guesses.Wait(); close(done) }()
		close(start)
		time.Sleep(50 * time.Millisecond) // until the guesses are there
		// The first use of who was not in yet: bob, beside whom others are
		// guessed at, and carol, who is guessed at herself.
		newcomer := map[string]string{"alice": "bob", "carol": "carol"}[guessed]
		guesses.Go(func() {
			status, took := ask(newcomer, passwords[newcomer])
			// Who is guessed at waits as a guess does, 4 s and the hashes before
			// hers, and on a busy machine may be asked to come again.
			for newcomer == guessed && status == http.StatusServiceUnavailable && took < patience {
				again, more := ask(newcomer, passwords[newcomer])
				status, took = again, took+more
			}
			if status != http.StatusOK || newcomer != guessed && took > 8*time.Second {
				t.Errorf("%s, while %s is guessed at: %d after %s", newcomer, guessed, status, took)
			}
			first = took
		})
		n := 0
		for guessing := true; guessing; n++ {
			select {
			case <-done:
				guessing = false
			case <-time.After(20 * time.Millisecond):
			}
			status, took := ask("alice", passwords["alice"])
			if status != http.StatusOK {
				t.Errorf("alice, remembered: %d", status)
			}
			remembered = max(remembered, took)
		}
		guesses.Wait()
		t.Logf("guessing %s: 100 answers %v, the slowest after %s; first use of %s after %s; the slowest of %d by alice, who is remembered, %s",
			guessed, outcomes, slowest, newcomer, first, n, remembered)
		if outcomes[http.StatusOK] > 0 || outcomes[http.StatusUnauthorized]+outcomes[http.StatusServiceUnavailable] != 100 {
			t.Errorf("the guesses were answered %v", outcomes)
		}
		if remembered > 2*time.Second { // on a machine that does other things beside
			t.Errorf("alice, who is remembered, waited %s", remembered)
		}
	}
	after := s.peak()
	t.Logf("the peak of memory was %.0f MB before, and is %.0f MB", before, after)
	if after-before > 150 {
		t.Errorf("guessing cost %.0f MB", after-before)
	}
	s.stop()
}
