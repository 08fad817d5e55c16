//go:build unix

package exec

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var (
	alice = provision.Target{Owner: token.Owner{Realm: "corp", Name: "alice"}, Service: "imap", EntryID: "id-1"}
	hash  = []byte("{ARGON2}$argon2id$x")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// script is a provisioner whose command is a shell script.
func script(t testing.TB, text string, changes ...func(*Options)) *Provisioner {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	o := Options{Name: "hook", Order: 2, Command: []string{path, "first argument", "$HOME;"}}
	for _, change := range changes {
		change(&o)
	}
	p, err := New(o)
	must(t, err)
	return p
}

func apply(t testing.TB, p *Provisioner, present, absent [][]byte) error {
	t.Helper()
	return p.Apply(t.Context(), &provision.Event{ID: "ev", Token: token.ID{1}, Target: alice, Present: present, Absent: absent})
}

// The command gets the event, its arguments as they are, and little else.
func TestEvent(t *testing.T) {
	t.Setenv("TOKENCTL_KEY_FILE", "/secret/place")
	t.Setenv("SOMETHING", "else")
	out := filepath.Join(t.TempDir(), "out")
	p := script(t, `cat > '`+out+`'; echo "$#|$1|$2" >> '`+out+`'; env | cut -d= -f1 | sort >> '`+out+`'`)
	for name, c := range map[string]struct {
		present, absent [][]byte
		want            string
	}{
		"hashes":    {[][]byte{hash}, [][]byte{[]byte("old")}, `"action":"present","present":["{ARGON2}$argon2id$x"],"absent":["old"]`},
		"withdrawn": {nil, [][]byte{hash}, `"action":"absent","absent":["{ARGON2}$argon2id$x"]`},
		"no secret": {[][]byte{nil}, [][]byte{{}}, `"action":"present"`},
		"nothing":   {nil, nil, `"action":"absent"`},
	} {
		must(t, apply(t, p, c.present, c.absent))
		text, err := os.ReadFile(out)
		must(t, err)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		var got, want map[string]any
		must(t, json.Unmarshal([]byte(lines[0]), &got))
		must(t, json.Unmarshal([]byte(`{"event":"ev","token":"`+token.ID{1}.String()+`","owner":"corp/alice","realm":"corp","name":"alice","entry_id":"id-1","service":"imap",`+c.want+`}`), &want))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if lines[1] != "2|first argument|$HOME;" {
			t.Errorf("%s: arguments %q", name, lines[1])
		}
		for _, variable := range lines[2:] {
			if !strings.Contains(" PATH HOME LANG PWD SHLVL _ OLDPWD ", " "+variable+" ") { // the shell makes some itself
				t.Errorf("%s: the command has the variable %s", name, variable)
			}
		}
	}
}

func TestAnswers(t *testing.T) {
	for text, c := range map[string]struct {
		kind error
		why  string
		not  string
	}{
		"exit 0":            {nil, "", ""},
		"echo bad >&2":      {nil, "", ""},
		"sleep 60 & exit 0": {nil, "", ""}, // what it leaves running keeps nobody waiting
		"exit 3":            {token.ErrRefused, "exit status 3", ": "},
		"echo; echo 'no such user' >&2; echo more >&2; exit 1":                          {token.ErrRefused, "exit status 1: no such user", "more"},
		"printf '\\033[31mred\\a\\n' >&2; exit 1":                                       {token.ErrRefused, "exit status 1: [31mred", "\x1b"},
		"printf '%04080d' 0 | tr 0 '\\n' >&2; printf '{ARGON2}$argon2id$x' >&2; exit 1": {token.ErrRefused, "exit status 1", "{ARG"},
		"cat >&2; exit 1":                {token.ErrRefused, "[redacted]", string(hash)},
		"printf '%01000d' 7 >&2; exit 1": {token.ErrRefused, strings.Repeat("0", 190), strings.Repeat("0", 201)},
		"yes | head -c 10000000 >&2; yes | head -c 10000000; exit 1": {token.ErrRefused, "exit status 1", ""},
		"kill -9 $$": {token.ErrRefused, "signal: killed", ""},
	} {
		began := time.Now()
		err := apply(t, script(t, text), [][]byte{hash}, nil)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("%s: took %s", text, took)
		}
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: %v, want %v", text, err, c.kind)
		}
		if err != nil && (!strings.Contains(err.Error(), c.why) || c.not != "" && strings.Contains(strings.TrimPrefix(err.Error(), "the command "), c.not)) {
			t.Errorf("%s: %v, want %q and not %q", text, err, c.why, c.not)
		}
	}
	p := script(t, "", func(o *Options) { o.Command = []string{"/nowhere/hook"} })
	if err := apply(t, p, nil, nil); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "cannot be run") {
		t.Errorf("no such command: %v", err)
	}
}

// At the deadline all that the command has started is killed with it.
func TestTimeout(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	p := script(t, `sleep 300 & echo $! > '`+pid+`'; wait`, func(o *Options) { o.Timeout = 300 * time.Millisecond })
	began := time.Now()
	err := apply(t, p, nil, nil)
	if !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "not ended within 300ms") || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	text, err := os.ReadFile(pid)
	must(t, err)
	for range 100 {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(text)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the child of the command lives on")
}

func TestGivenUp(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := script(t, "sleep 300").Apply(ctx, &provision.Event{Target: alice})
	if !errors.Is(err, token.ErrCannotTell) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestPrepare(t *testing.T) {
	encode := func(_ context.Context, scheme secret.Scheme, s secret.Secret) ([]byte, error) {
		return []byte("{" + string(scheme) + "}…"), nil
	}
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.Scheme, o.Encode = secret.SchemeCRYPT, encode }, "{CRYPT}…"},
		{func(o *Options) { o.InsecurePlaintextPassword = true }, "Abcdefgh"},
	} {
		v, err := script(t, "", c.change).Prepare(t.Context(), alice, secret.FromText("Abcdefgh"))
		if string(v) != c.want || err != nil {
			t.Errorf("%q, %v, want %q", v, err, c.want)
		}
	}
}

func TestNew(t *testing.T) {
	good := Options{Name: "hook", Order: 4, Command: []string{"/bin/true"}, Realms: []string{"corp"}}
	p, err := New(good)
	must(t, err)
	if p.Name() != "hook" || p.Order() != 4 || !p.Serves(alice.Owner) || p.Serves(token.Owner{Realm: "local", Name: "alice"}) {
		t.Errorf("%+v", p)
	}
	for name, change := range map[string]func(*Options){
		"no command":     func(o *Options) { o.Command = nil },
		"relative":       func(o *Options) { o.Command = []string{"true"} },
		"timeout":        func(o *Options) { o.Timeout = -1 },
		"both":           func(o *Options) { o.Scheme, o.InsecurePlaintextPassword = secret.SchemeCRYPT, true },
		"clear text":     func(o *Options) { o.Scheme = secret.InsecureClearText },
		"nobody encodes": func(o *Options) { o.Scheme = secret.SchemeCRYPT },
	} {
		o := good
		change(&o)
		if _, err := New(o); !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
