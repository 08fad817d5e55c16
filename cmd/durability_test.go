//go:build linux

package cmd_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// promises are what programs have acknowledged: they must hold for ever.
type promises struct {
	made    map[string]bool // by secret
	ending  map[string]bool // nobody knows: the program died while revoking
	revoked map[string]bool
}

func newPromises() *promises {
	return &promises{map[string]bool{}, map[string]bool{}, map[string]bool{}}
}

// take notes a line of the writer in testdata/hostile.
func (p *promises) take(line string) error {
	what, text, _ := strings.Cut(line, " ")
	lists := map[string]map[string]bool{"made": p.made, "revoking": p.ending, "revoked": p.revoked}
	if lists[what] == nil || len(text) != 58 {
		return fmt.Errorf("the writer says %q", line)
	}
	lists[what][text] = true
	return nil
}

// kept says what does not hold in a store: every token that was made verifies,
// none that was revoked does, and all records, indexes and the audit log are
// whole.
func (p *promises) kept(db, key string) error {
	keys, err := keyfile.Open(key)
	if err != nil {
		return err
	}
	s, err := bolt.Open(bolt.Options{Path: db, Exclusive: true})
	if err != nil {
		return err
	}
	defer s.Close()
	owner, err := token.ParseOwner("auditor")
	if err != nil {
		return err
	}
	service := authority.New(authority.Options{Store: s, Keys: keys}).As(authority.Caller{Owner: owner, Via: "test", FileOwner: true})
	ctx := context.Background()
	for text := range p.made {
		_, err := service.Verify(ctx, authority.Presented{Credential: secret.FromText(text)})
		switch {
		case p.revoked[text] && err == nil:
			return fmt.Errorf("token %s was revoked and is accepted", text[4:20])
		case p.ending[text] || p.revoked[text]:
			if err != nil && !errors.Is(err, token.ErrRefused) {
				return err
			}
		case err != nil:
			return fmt.Errorf("token %s was made: %w", text[4:20], err)
		}
	}
	found, err := service.Check(ctx, true)
	if err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return fmt.Errorf("check --deep: %q", found.Problems)
	}
	return nil
}

func (p *promises) mustBeKept(t *testing.T, m *machine) {
	t.Helper()
	if err := p.kept(m.db(), m.key()); err != nil {
		t.Fatal(err)
	}
}

var buildWriter = sync.OnceValues(func() (string, error) {
	tokenctl, err := buildBinary()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(tokenctl), "writer")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "../testdata/hostile/writer").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// writer is the command that writes to a machine's store.
func writer(ctx context.Context, t *testing.T, m *machine, args ...string) *exec.Cmd {
	t.Helper()
	path, err := buildWriter()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(ctx, path, append([]string{"-store", m.db(), "-key", m.key()}, args...)...)
	c.WaitDelay = patience
	return c
}

// kill -9 at a random moment of a process that writes all the time: what it had
// said before holds.
func TestDurabilityKillWriter(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"one by one":     nil,
		"group commit":   {"-exclusive", "-workers", "4"},
		"many, one lock": {"-workers", "3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, _ := seeded(t)
			p := newPromises()
			for range 9 {
				killWriter(t, m, p, args)
				p.mustBeKept(t, m)
			}
			if len(p.made) < 9 || len(p.revoked) == 0 {
				t.Errorf("only %d were made and %d revoked: nothing was tried", len(p.made), len(p.revoked))
			}
			m.must("", "admin", "check", "--deep")
			m.must("", "admin", "audit", "verify")
		})
	}
}

func killWriter(t *testing.T, m *machine, p *promises, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := writer(ctx, t, m, args...)
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	after := rand.N(60 * time.Millisecond)
	lines := bufio.NewReader(out)
	for first := true; ; first = false {
		line, err := lines.ReadString('\n')
		if err != nil { // the line was cut: nothing was acknowledged by it
			break
		}
		if first {
			time.AfterFunc(after, func() { c.Process.Kill() })
		}
		if err := p.take(strings.TrimSuffix(line, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	c.Wait()
	if ctx.Err() != nil || stderr.Len() > 0 {
		t.Fatalf("the writer: %v, %s", ctx.Err(), stderr.String())
	}
}

// The same with processes that live for one command: each is killed, or not,
// somewhere between its start and its end.
func TestDurabilityKillCommands(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	p := newPromises()
	span := lifetime(m)
	died := 0
	for i := range 30 {
		r, killed := m.killed(rand.N(span), "generate", "refresh", "n"+itoa(i))
		died += killed
		text, whole := strings.CutSuffix(r.out, "\n")
		if !whole {
			continue
		}
		p.made[text] = true
		if i%2 == 0 {
			continue
		}
		r, killed = m.killed(rand.N(span), "revoke", text[4:20])
		died += killed
		p.ending[text] = true
		if r.code == 0 || strings.Contains(r.err, "revoked 1 token\n") {
			p.revoked[text] = true
		}
	}
	if died < 5 || len(p.made) < 2 {
		t.Errorf("%d processes died, %d tokens were made: nothing was tried", died, len(p.made))
	}
	p.mustBeKept(t, m)
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
}

// lifetime is about how long a command takes on this machine, and a little more.
func lifetime(m *machine) time.Duration {
	start := time.Now()
	for range 3 {
		m.must("", "generate", "refresh")
	}
	return time.Since(start) / 2
}

// killed runs a process and kills it after a while.
func (m *machine) killed(after time.Duration, args ...string) (r result, killed int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := m.command(ctx, args...)
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	if err := c.Start(); err != nil {
		m.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { c.Process.Kill() })
	c.Wait()
	timer.Stop()
	r = result{args, c.ProcessState.ExitCode(), out.String(), stderr.String()}
	if ctx.Err() != nil {
		m.t.Fatalf("it hangs: %v", r)
	}
	if r.code == -1 {
		return r, 1
	}
	if wrong := badEnd(r); wrong != "" {
		m.t.Errorf("%s: %v", wrong, r)
	}
	return r, 0
}

// A first use that is killed anywhere leaves nothing in the way of the second.
func TestDurabilityKillFirstUse(t *testing.T) {
	t.Parallel()
	first := newMachine(t)
	span := lifetime(first)
	died := 0
	// On a busy machine a process may take less than the one that was timed.
	for n := 0; n < 15 || died == 0 && n < 200; n++ {
		m := newMachine(t)
		r, killed := m.killed(rand.N(span), "generate")
		died += killed
		if text, whole := strings.CutSuffix(r.out, "\n"); whole {
			m.must(text, "verify")
		}
		if again := m.run("", "generate"); again.code != 0 && again.code != 5 {
			t.Errorf("after %v: %v", r, again)
		}
		m.must("", "admin", "check", "--deep")
		m.must("", "admin", "audit", "verify")
	}
	if died == 0 {
		t.Error("no process died: nothing was tried")
	}
}
