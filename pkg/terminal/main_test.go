package terminal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The test binary plays three parts: the tests; the clearer, as tokenctl does;
// and a program with one prompt or one copy, which needs a terminal or an
// environment of its own.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == ClearerArg {
		os.Exit(RunClearer(os.Stdin))
	}
	if role := os.Getenv("TERMINAL_TEST_ROLE"); role != "" {
		os.Exit(roles[role]())
	}
	os.Exit(m.Run())
}

var roles = map[string]func() int{
	"confirm": func() int {
		return prompting(func(t *TTY) (string, error) {
			yes, err := t.Confirm(os.Getenv("TERMINAL_TEST_PROMPT"))
			return strconv.FormatBool(yes), err
		})
	},
	"ask": func() int {
		return prompting(func(t *TTY) (string, error) { return t.Ask(os.Getenv("TERMINAL_TEST_PROMPT")) })
	},
	"secret": func() int {
		return prompting(func(t *TTY) (string, error) { return t.ReadSecret(os.Getenv("TERMINAL_TEST_PROMPT")) })
	},
	"copy": copying,
}

// prompting asks TERMINAL_TEST_TIMES times and prints one line per answer on
// stdout.
func prompting(ask func(*TTY) (string, error)) int {
	t, err := Open()
	if errors.Is(err, ErrNoTerminal) {
		fmt.Println("no terminal")
		return 1
	}
	defer t.Close()
	times, _ := strconv.Atoi(os.Getenv("TERMINAL_TEST_TIMES"))
	code := 0
	for range max(times, 1) {
		line, err := ask(t)
		fmt.Printf("%q %v\n", line, err)
		if errors.Is(err, ErrInterrupted) {
			code = 130
		}
	}
	return code
}

type copyReport struct {
	How      string
	ClearsIn time.Duration
	Clearer  int
	Text     string
	Err      string
	None     bool
}

// copying copies its standard input and prints a copyReport.
func copying() int {
	value, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	after, _ := time.ParseDuration(os.Getenv("TERMINAL_TEST_AFTER"))
	o := CopyOptions{ClearAfter: after}
	if t, err := Open(); err == nil {
		o.TTY = t
	}
	c, err := Copy(context.Background(), string(value), o)
	r := copyReport{How: c.How, ClearsIn: c.ClearsIn, Clearer: c.clearer, Text: c.String(), None: errors.Is(err, ErrNoClipboard)}
	if err != nil {
		r.Err = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

// program is the test binary in one of its roles, with nothing in its
// environment but env.
func program(t testing.TB, role string, env ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TERM=xterm-256color", "TERMINAL_TEST_ROLE=" + role}, env...)
	// Ours or a grandchild's hold on an output pipe must not hang the tests.
	cmd.WaitDelay = patience
	return cmd
}

// patience is how long the tests wait for what must happen; nothing is ever
// asserted to be faster.
const patience = 30 * time.Second

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// env makes a look-up function of NAME=value pairs.
func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		m[name] = value
	}
	return func(name string) string { return m[name] }
}
