//go:build linux

package cmd_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/needs"
)

// An environment that makes no sense is told so, before anything is made.
func TestHostileEnvironment(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	base := m.env
	before := state(t, m.home)
	for _, c := range []struct {
		env  string
		code int
		tell string
	}{
		{"HOME=", 2, "no home folder"},
		{"HOME=relative", 2, "not an absolute path"},
		{"HOME=.", 2, "not an absolute path"},
		{"HOME=/dev/null", 2, "/dev/null"},
		{"XDG_DATA_HOME=relative", 2, "not an absolute path"},
		{"XDG_DATA_HOME=/dev/null", 6, "/dev/null"},
		{"XDG_DATA_HOME=/proc/nothing", 6, "/proc/nothing"},
		{"XDG_CONFIG_HOME=relative", 2, "not an absolute path"},
		{"XDG_CONFIG_HOME=/dev/null", 2, "/dev/null"},
		{"TOKENCTL_STORE=x", 2, "is not bolt:"},
		{"TOKENCTL_STORE=/absolute.db", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:relative.db", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt://host/x.db", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:///x.db?mode=rw", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:///x%00.db", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:///x%zz.db", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:///x.key", 2, "key file"},
		{"TOKENCTL_STORE=bolt:///", 6, "/"},
		{"TOKENCTL_STORE=bolt:///dev/zero", 6, "/dev/"},
		{"TOKENCTL_STORE=etcd://x/y", 2, "is not bolt:"},
		{"TOKENCTL_STORE=bolt:///" + strings.Repeat("n", 300) + ".db", 6, "too long"},
		{"TOKENCTL_CONFIG=/nowhere.yaml", 2, "no config file"},
		{"TOKENCTL_OUTPUT=bogus", 2, "output"},
		{"TOKENCTL_JQ=.[", 2, "jq"},
		{"TOKENCTL_COLOR=pink", 2, "pink"},
		{"TOKENCTL_CLIPBOARD=on", 2, "clipboard"},
		{"TOKENCTL_CLIPBOARD_TIMEOUT=45", 2, "clipboard_timeout"},
		{"TOKENCTL_TIMEOUT=5", 2, "timeout"},
		{"TOKENCTL_TIMEOUT=-1s", 2, "timeout"},
		{"TOKENCTL_TIMEOUT=0", 2, "timeout"},
		{"TOKENCTL_TIMEOUT=9999999h", 2, "timeout"},
		{"TOKENCTL_TIMEOUT=9999999999999999999s", 2, "timeout"},
		{"TOKENCTL_YES=ja", 2, "yes"},
		{"TOKENCTL_QUIET=2", 2, "quiet"},
		{"TOKENCTL_VERBOSE=\x1b[31m", 2, "verbose"},
		{"TOKENCTL_NO_INPUT=nope", 2, "no-input"},
	} {
		m.env = append(slices.Clone(base), c.env)
		for _, args := range [][]string{{"list"}, {"generate", "refresh", "new"}} {
			r := m.run("", args...)
			if r.code != c.code || !strings.Contains(r.err, c.tell) {
				t.Errorf("%q: not exit %d with %q: %v", c.env, c.code, c.tell, r)
			}
		}
	}
	m.env = base
	untouched(t, m.home, before)

	// Nobody is who the environment says.
	m.env = []string{"USER=mallory", "LOGNAME=mallory", "USERNAME=mallory", "SUDO_USER=mallory"}
	if out := m.must("", "generate", "refresh", "new", "-o", "json"); strings.Contains(out, "mallory") || !strings.Contains(out, `"owner":"local/`) {
		t.Errorf("it takes the caller for somebody else: %s", out)
	}
}

// The caller is who the password file says, by uid.
func TestHostilePasswordFile(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		needs.Missing(t, "only root can be another user, and mount another password file")
	}
	m := newMachine(t)
	stranger(t, m)
	m.as = &syscall.Credential{Uid: 54321, Gid: 54321}
	if err := os.Chown(m.home, 54321, 54321); err != nil {
		t.Fatal(err)
	}
	if out := m.must("", "generate", "-o", "json"); !strings.Contains(out, `"owner":"local/uid-54321"`) {
		t.Errorf("a user who is in no file is %s", out)
	}

	uid := itoa(os.Getuid())
	for text, want := range map[string]string{
		"other:x:1:1::/:/\nreal:x:" + uid + ":0::/:/\nsecond:x:" + uid + ":0::/:/\n": `"owner":"local/real"`,
		"":                                     `"owner":"local/uid-` + uid + `"`,
		":x:" + uid + ":0::/:/\n":              `"owner":"local/uid-` + uid + `"`,
		"CamelCase:x:" + uid + ":0::/:/\n":     `"owner":"local/camelcase"`,
		"short:x\nreal:x:" + uid + ":0::/:/\n": `"owner":"local/real"`,
	} {
		m := newMachine(t)
		file := filepath.Join(m.home, "passwd")
		put(t, file, []byte(text))
		m.wrap = mounted(t, file, `mount --bind "$0" /etc/passwd`)
		if out := m.must("", "generate", "-o", "json"); !strings.Contains(out, want) {
			t.Errorf("with %q not %s but %s", text, want, out)
		}
	}
}

// Whatever the umask, what is made can be used by its owner and by nobody else;
// where that cannot be, nothing is told to have been made.
func TestHostileUmask(t *testing.T) {
	t.Parallel()
	for _, umask := range []string{"0000", "0002", "0022", "0077", "0277", "0777"} {
		m := newMachine(t)
		stranger(t, m)
		m.wrap = []string{"/bin/sh", "-c", "umask " + umask + `; exec "$0" "$@"`}
		secret := filepath.Join(m.home, "secret")
		r := m.run("", "generate", "--output-file", secret)
		if umask < "0100" {
			m.ends(r, 0)
		} else if r.code != 0 {
			m.ends(r, 6, m.folder())
		}
		for path, what := range state(t, m.home) {
			mode, _, _ := strings.Cut(what, " ")
			if path != m.home && !strings.HasSuffix(mode, "------") {
				t.Errorf("umask %s: %s has mode %s", umask, path, mode)
			}
		}
		if umask < "0100" {
			m.must("", "verify", "--credential-file", secret)
		}
		for _, path := range []string{".local", ".local/share", ".local/share/tokenctl"} {
			os.Chmod(filepath.Join(m.home, path), 0o700) // so that it can be removed
		}
	}
}

// A config file that is none, or says what we do not understand, changes
// nothing; the message names it.
func TestHostileConfigFile(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	path := filepath.Join(m.home, ".config", "tokenctl", "config.yaml")
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'k'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n"
	}
	for name, c := range map[string]struct {
		text string
		tell string
	}{
		"tabs":             {"color: never\n\tclipboard: off\n", "line"},
		"twice":            {"color: never\ncolor: always\n", "line 2"},
		"unknown":          {"color: never\ncolour: never\n", "line 2"},
		"other case":       {"Color: never\n", "line 1"},
		"list":             {"[]\n", ""},
		"text":             {"hello\n", ""},
		"two documents":    {"color: never\n---\ncolor: never\n", "document"},
		"garbage":          {string(garbage(2000)), ""},
		"wrong type":       {"color: [never]\n", "line 1"},
		"wrong value":      {"color: pink\n", "pink"},
		"bare number":      {"timeout: 5\n", "timeout"},
		"bomb":             {bomb, ""},
		"bomb in a value":  {"color: &a [x]\nclipboard: [*a,*a]\n", ""},
		"deep":             {"color: " + strings.Repeat("[", 20_000) + "\n", ""},
		"large":            {strings.Repeat("# comment\n", 1<<20), "more than"},
		"large value":      {"color: " + strings.Repeat("x", 1<<20) + "\n", "more than"},
		"unfinished quote": {"color: \"never\n", ""},
		"escape":           {"color: \"\\e[31mred\"\n", "x1b"},
	} {
		put(t, path, []byte(c.text))
		before := state(t, m.home)
		for _, args := range [][]string{{"list"}, {"config", "check"}, {"generate", "refresh", "new"}, {"config", "show"}} {
			r := m.run("", args...)
			m.ends(r, 2, c.tell)
			if len(r.err) > 10_000 {
				t.Errorf("%s: a message of %d bytes", name, len(r.err))
			}
			if !strings.Contains(r.err, path) && !strings.HasPrefix(name, "wrong value") && name != "bare number" && name != "escape" {
				t.Errorf("%s: the message does not name the file: %v", name, r)
			}
		}
		untouched(t, m.home, before)
	}
	for name, create := range map[string]func(string) error{
		"folder": func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":   func(p string) error { return syscall.Mkfifo(p, 0o600) },
		"device": func(p string) error { return os.Symlink("/dev/zero", p) },
		"loop":   func(p string) error { return os.Symlink(p, p) },
	} {
		instead(t, path, create)
		for _, args := range [][]string{{"list"}, {"config", "check"}} {
			r := m.run("", args...)
			m.ends(r, 2, path)
			if t.Failed() {
				t.Fatal(name)
			}
		}
	}
	instead(t, path, func(p string) error { return os.WriteFile(p, nil, 0o644) })
	m.must("", "list") // an empty one says nothing
}

// Arguments of any size and kind are answered with wrong usage.
func TestHostileArguments(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	before := state(t, m.home)
	huge := strings.Repeat("a", 100_000)
	id := s.id
	for _, args := range [][]string{
		{"show", huge}, {"show", ""}, {"show", "a\x01"}, {"show", "-"}, {"show", "--", "-x"}, {"show", "ＣＩ"}, {"show", "ci "}, {"show", "../ci"}, {"show", "c*"},
		{"generate", "refresh", huge}, {"generate", "refresh", id}, {"generate", "refresh", strings.ToUpper(id)}, {"generate", "refresh", "0123456789abcdef"},
		{"generate", "refresh", "a b"}, {"generate", "refresh", "a/b"}, {"generate", "refresh", "-a"}, {"generate", "refresh", ""}, {"generate", "refresh", "é"}, {"generate", "refresh", "a", "b"},
		{"generate", "refresh", "x", "--role", huge}, {"generate", "refresh", "x", "--role", ""}, {"generate", "refresh", "x", "--role", "a,,b"}, {"generate", "refresh", "x", "--role", "a b"},
		{"generate", "--owner", huge}, {"generate", "--owner", ""}, {"generate", "--owner", "al\u202eice"}, {"generate", "--owner", "/"}, {"generate", "--owner", "local/"},
		{"generate", "--owner", "/alice"}, {"generate", "--owner", "a b/alice"}, {"generate", "--owner", " "},
		{"list", "--name", "["}, {"list", "--name", "a[-"}, {"list", "--name", "a\\"}, {"delete", "--name", "[!a]*", "--yes"}, {"list", "--name", ""}, {"list", "--kind", "x"}, {"list", "--status", "*"}, {"list", "--realm", "*"}, {"list", "--realm", ""},
		{"list", "--owner", "*/"}, {"list", "--role", "*"}, {"list", "--created-before", "0001-01-01"}, {"list", "--created-before", "0001-01-01T00:00:00Z"}, {"list", "--created-after", "2026-13-01"},
		{"list", "--created-after", "2026-01-02", "--created-before", "2026-01-01"}, {"list", "--created-after", "yesterday"}, {"list", "--owner", "x", "--all-owners"},
		{"list", "-o", huge}, {"list", "-o", ""}, {"list", "--jq", huge}, {"list", "--jq", strings.Repeat("(", 50_000)}, {"list", "-o", "template=" + strings.Repeat("{{if 1}}", 10_000)},
		{"list", "--config", huge}, {"list", "--timeout", huge}, {"list", "--timeout", "1"}, {"list", "--no-such"}, {"list", "x"}, {"lst"}, {huge},
		{"delete", "ci", "--kind", "refresh"}, {"revoke"}, {"rotate"}, {"revoke", "ci", "--secret-stdin"}, {"revoke", "ci", "--reason", huge}, {"rotate", "ci", "asleep", "--yes", "-o", "json"},
		{"admin", "user", "add", huge}, {"admin", "user", "add", "bob", "--display-name", huge}, {"admin", "user", "add", ""}, {"admin", "key", "rotate", "all"}, {"admin", "policy", "set", "x", "1"},
		{"suspend", "ci", "--until", "0001-01-01"}, {"suspend", "ci", "--until", "2020-01-01"}, {"suspend", "ci", "--until", "9999-12-31T23:59:59-23:59"}, {"suspend", "ci", "--until", "10000-01-01"},
	} {
		r := m.run("", args...)
		if r.code != 2 {
			t.Errorf("exit %d, not 2: %.300s", r.code, r)
		}
	}
	untouched(t, m.home, before)

	// A file name that does not fit into a name, and a reason that fits.
	m.ends(m.run("", "verify", "--credential-file", huge), 2, "too long")
	m.ends(m.run("", "revoke", "ci", "--reason", strings.Repeat("é", 512)), 0)
}

// Lengths of time cannot overflow into for ever.
func TestHostileDurations(t *testing.T) {
	t.Parallel()
	m, _ := seeded(t)
	before := state(t, m.home)
	for _, text := range []string{
		"0", "0s", "0d", "-1d", "-0d", "+1d", "1", "d", "1y", "1.5d", "1e9d", " 1d", "1d ", "1 d", "0x10d", "１d", "1D", "1d-1d", "1000000000d", "36501d",
		"106751d23h47m17s", "9223372036854775807s", "9223372036854775808s", "99999999999999999999d", "153722867280912931m", "2562047788015216h", "30500568904944w", "infinity", "never", "NaN",
		"36500d1s", "18446744073709551617s",
	} {
		m.ends(m.run("", "generate", "refresh", "new", "--lifetime", text), 2, strconv.Quote(text))
		m.ends(m.run("", "generate", "--owner", "alice", "--lifetime", text), 2, strconv.Quote(text))
		if text != "0s" && text != "0d" {
			m.ends(m.run("", "rotate", "ci", "--grace", text), 2)
			m.ends(m.run("", "list", "--unused-for", text), 2)
			m.ends(m.run("", "list", "--expires-within", text), 2)
		}
		if t.Failed() {
			t.Fatalf("with %q", text)
		}
	}
	untouched(t, m.home, before)
	m.must("", "admin", "policy", "set", "refresh_token_max_lifetime=36500d")
	long := m.must("", "generate", "refresh", "long", "--lifetime", "36500d")
	m.must(long, "verify")
	m.must("", "suspend", "long", "--until", "36500d")
	m.must("", "list", "--expires-within", "36500d")
}

// Selectors choose of the caller's own, however they are put.
func TestHostileSelectors(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	alice := m.must("", "generate", "--owner", "alice")
	for _, args := range [][]string{
		{"revoke", "--name", "*", "--yes", "--dry-run"},
		{"delete", "--name", "nomatch*", "--yes"},
		{"delete", "--created-before", "1971-01-01", "--yes"},
		{"delete", "--created-before", "0001-01-02", "--yes"},
		{"delete", "--created-after", "2990-01-01", "--yes"},
		{"delete", "--expires-within", "0s", "--yes"},
		{"delete", "--name", "[^a-z]*", "--yes"},
		{"delete", "--name", "*" + strings.Repeat("*a", 50) + "*", "--yes"},
		{"delete", "--status", "expired", "--yes"},
		{"delete", "--kind", "service", "--yes"},
		{"delete", "--realm", "corp", "--yes"},
		{"delete", "--role", "tokenctl:admin", "--yes"},
	} {
		if r := m.run("", args...); r.code != 0 && r.code != 4 {
			t.Error(r)
		}
		for _, text := range []string{alice, s.pair, s.refresh} {
			if r := m.run(text, "verify"); r.code != 0 {
				t.Fatalf("%q is gone after %q", text[:4], args)
			}
		}
	}
	m.must("", "delete", "--never-used", "--yes")
	m.must(alice, "verify")
	if r := m.run(s.refresh, "verify"); r.code != 0 && r.code != 3 {
		t.Error(r)
	}
	m.must("", "admin", "check", "--deep")
}

// A secret on the command line is refused wherever it stands, and told to nobody.
func TestHostileSecretArguments(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	before := state(t, m.home)
	_, pass, _ := strings.Cut(s.pair, ":")
	for _, text := range []string{s.pair, pass, s.refresh, s.jwt, "Bearer " + s.jwt, "x" + s.refresh + "y", `{"refresh_token":"` + s.refresh + `"}`} {
		for _, args := range [][]string{
			{"verify", text}, {"show", text}, {"revoke", "ci", "--reason", text}, {"exchange", "--refresh-token-file=" + text}, {"verify", "--credential-command", "echo " + text},
			{"list", "--name=" + text}, {"-o", "template=" + text}, {text}, {"verify", "--", text}, {"__complete", "show", text}, {"generate", "refresh", text}, {"help", text},
		} {
			r := m.run("", args...)
			m.ends(r, 2, "a secret stands on the command line")
			clean(t, "the message", []byte(r.err+r.out), s.pair, s.refresh, s.jwt)
		}
	}
	untouched(t, m.home, before)
}

// What a command for a secret puts out is limited, and so is the wait for it.
func TestHostileSecretCommand(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	put(t, filepath.Join(m.home, "s"), []byte(s.refresh+"\n"))
	for command, code := range map[string]int{
		"cat $HOME/s":                           0,
		"cat $HOME/s; exit 3":                   2,
		"cat $HOME/s $HOME/s":                   3,
		"exit 1":                                2,
		"true":                                  2,
		"no-such-command-at-all 2>/dev/null":    2,
		"kill -9 $$":                            2,
		"cat /dev/zero":                         3,
		"yes":                                   3,
		"cat $HOME/s; exec >&- 2>&-; sleep 0.2": 0,
		"head -c 17407 /dev/zero":               3,
		"echo; cat $HOME/s":                     3,
	} {
		r := m.runWith(func(c *exec.Cmd) { c.Stdin = nil }, "verify", "--credential-command", command)
		if r.code != code {
			t.Errorf("%s: not %d: %v", command, code, r)
		}
	}
	// The child may take its end for granted when nobody reads any more.
	r := m.run("", "verify", "--credential-command", "yes x | head -c 1000; cat $HOME/s")
	m.ends(r, 3)
	if strings.Contains(r.err, "Broken pipe") {
		t.Errorf("SIGPIPE is ignored in what we start: %v", r)
	}
}

// Commands thrown together from good and bad words never end in a panic.
func TestHostileMonkey(t *testing.T) {
	t.Parallel()
	m, s := seeded(t)
	words := strings.Fields(`generate user refresh list show verify exchange rotate revoke suspend resume delete admin connection policy key audit explain check
		stats completion bash version config - -- --all --all-owners --kind --owner --name --role --lifetime --grace --until-used --until --yes --dry-run -o json jsonl yaml
		csv name raw wide table --jq . --output-file --copy pass --no-copy --connection default --secret-stdin --reason --deep --quiet --verbose --no-input --color always --origin
		set add ci * 1d 0 -1 local/root alice default tokenctl:admin --entity-id https://example.org --access-lifetime 1m --algorithm RS256 file sign help --help __complete refresh_tokens=everyone issuer=x`)
	words = append(words, "", " ", s.id, "\x00"[:0], "é", "\u202e", "template={{.}}", strings.Repeat("x", 65))
	random := rand.New(rand.NewPCG(5, 6))
	for range 150 {
		args := make([]string, 1+random.IntN(6))
		for i := range args {
			args[i] = words[random.IntN(len(words))]
		}
		r := m.runWith(func(c *exec.Cmd) { c.Dir, c.Stdin = m.home, bytes.NewReader(garbage(40)) }, args...)
		if r.code == 6 || r.code == 1 && slices.Contains(args, "--output-file") {
			continue
		}
		if t.Failed() {
			return
		}
	}
	m.must("", "admin", "check", "--deep")
	m.must("", "admin", "audit", "verify")
}
