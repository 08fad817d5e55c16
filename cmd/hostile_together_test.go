//go:build linux

package cmd_test

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// together runs n processes at once.
func together(m *machine, n int, args func(i int) []string) []result {
	results := make([]result, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			results[i] = m.run("", args(i)...)
		})
	}
	close(start)
	all.Wait()
	return results
}

// patient is a setting for machines on which 20 processes take long.
const patient = "TOKENCTL_TIMEOUT=60s"

// Of 20 processes that are the first to use a store, one makes the user token,
// and the others see it. There is one store and one key file, and no rest of
// another.
func TestHostileFirstUseTogether(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	codes := map[int]int{}
	var pair string
	for _, r := range together(m, 20, func(int) []string { return []string{"generate"} }) {
		codes[r.code]++
		if r.code == 0 {
			pair = r.out
		} else {
			m.ends(r, 5, "already has a user token", "hint: ")
		}
	}
	if codes[0] != 1 {
		t.Fatalf("exit codes and how often: %v", codes)
	}
	m.must(pair, "verify")
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
	if n := len(strings.Fields(m.must("", "list", "--all", "--all-owners", "-o", "name"))); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
	left, err := os.ReadDir(m.folder())
	if err != nil || len(left) != 2 {
		t.Errorf("in the folder: %v, %v", left, err)
	}
}

// Of 20 processes that change the same store, reading ones among them, none
// fails and nothing is lost.
func TestHostileChangesTogether(t *testing.T) {
	t.Parallel()
	m := newMachine(t, patient)
	kinds := []func(i int) []string{
		func(i int) []string { return []string{"generate", "refresh", "n" + itoa(i)} },
		func(i int) []string { return []string{"generate", "refresh", "n" + itoa(i)} },
		func(i int) []string { return []string{"generate", "refresh", "n" + itoa(i)} },
		func(i int) []string { return []string{"list"} },
	}
	made := 0
	for i, r := range together(m, 20, func(i int) []string { return kinds[i%4](i) }) {
		m.ends(r, 0)
		if i%4 != 3 {
			made++
			m.must(r.out, "verify")
		}
	}
	if n := len(strings.Fields(m.must("", "list", "-o", "name"))); n != made {
		t.Errorf("%d tokens of %d", n, made)
	}
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")

	// All want to be the only one.
	for _, args := range [][]string{{"revoke", "n0"}, {"generate", "refresh", "n0"}} {
		won := 0
		for _, r := range together(m, 10, func(int) []string { return args }) {
			switch {
			case r.code == 0:
				won++
			case args[0] == "revoke" && !slices.Contains([]int{4, 5}, r.code), args[0] == "generate" && r.code != 5:
				t.Error(r)
			}
		}
		if won == 0 || args[0] == "generate" && won != 1 {
			t.Errorf("%v: %d have won", args, won)
		}
	}
	m.must("", "admin", "check", "--deep")
}

// New keys in the key file, from many processes at once, and tokens beside
// them: each process ends with keys that verify everything.
func TestHostileKeysTogether(t *testing.T) {
	t.Parallel()
	m, s := seeded(t, patient)
	for i, r := range together(m, 12, func(i int) []string {
		if i%3 == 0 {
			return []string{"admin", "key", "rotate", "file"}
		}
		return []string{"generate", "refresh", "k" + itoa(i)}
	}) {
		m.ends(r, 0)
		if i%3 != 0 {
			m.must(r.out, "verify")
		}
	}
	m.must(s.pair, "verify")
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
}

// A lock that another process holds: the message says who, and it does not take
// for ever; when the lock is given up in time, all is well.
func TestHostileLock(t *testing.T) {
	t.Parallel()
	m, s := seeded(t, "TOKENCTL_TIMEOUT=300ms")
	holder := exec.Command("flock", "--exclusive", m.db(), "sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	release := sync.OnceFunc(func() { syscall.Kill(-holder.Process.Pid, syscall.SIGKILL); holder.Wait() })
	defer release()
	eventually(t, "somebody holds the lock", func() bool {
		f, err := os.Open(m.db())
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK
	})
	before := state(t, m.folder())
	for _, q := range questions(s) {
		m.ends(m.run(q.stdin, q.args...), 6, m.db()+" is in use by flock (pid "+itoa(holder.Process.Pid)+")", "hint: wait")
	}
	m.ends(m.run("", "list", "--timeout", "1ms"), 6, "in use by")
	untouched(t, m.folder(), before)

	// Whoever waits long enough gets it.
	var waiting sync.WaitGroup
	for _, args := range [][]string{{"list"}, {"generate", "refresh", "new"}} {
		waiting.Go(func() { m.ends(m.run("", append(args, "--timeout", "60s")...), 0) })
	}
	time.Sleep(300 * time.Millisecond)
	release()
	waiting.Wait()
}

// A person at a prompt, and a reader who does not read, hold up nobody.
func TestHostileNobodyWaitsForPeople(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t, "TOKENCTL_TIMEOUT=20s")
	r, w := fullPipe(t)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stuck := m.command(ctx, "list", "--all")
	stuck.Stdout = w
	if err := stuck.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	time.Sleep(300 * time.Millisecond) // so that it stands in its write
	m.must("", "generate", "refresh", "new")
	cancel()
	stuck.Wait()
}
