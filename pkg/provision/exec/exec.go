// Package exec is a provisioner that runs a command of the administrator's for
// each event. It knows nothing of the system behind the command.
package exec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Options say what to run.
type Options struct {
	Name  string
	Order int
	// Command is a program, by its absolute path, and its arguments. No shell
	// reads it.
	Command []string
	// Timeout is how long the command may take; default 20 s, at most
	// provision.ApplyTimeout.
	Timeout time.Duration
	// Realms are those whose owners it serves; empty: all.
	Realms []string
	// Scheme has the command get the secret's hash. Empty: it learns who has a
	// token, and nothing of the secret.
	Scheme secret.Scheme
	// InsecurePlaintextPassword has the command get the secret itself, in the
	// place of Scheme. Until the token ends it is kept, sealed with the key
	// file: whoever has both files has the secret.
	InsecurePlaintextPassword bool
	// Encode is that of secret.Hasher; needed with Scheme.
	Encode func(context.Context, secret.Scheme, secret.Secret) ([]byte, error)
}

// Provisioner runs a command.
type Provisioner struct{ o Options }

var _ provision.Provisioner = (*Provisioner)(nil)

// New makes a provisioner. Its errors are token.ErrUsage.
func New(o Options) (*Provisioner, error) {
	usage := func(format string, args ...any) (*Provisioner, error) {
		err := token.Errorf(token.ErrUsage, format, args...)
		err.Message = "the provisioner " + o.Name + ": " + err.Message
		return nil, err
	}
	o.Timeout = cmp.Or(o.Timeout, 20*time.Second)
	switch {
	case len(o.Command) == 0:
		return usage("no command says what to run")
	case !filepath.IsAbs(o.Command[0]):
		return usage("the command %q is not an absolute path", o.Command[0])
	case o.Timeout < 0 || o.Timeout > provision.ApplyTimeout:
		return usage("the timeout %s is not between 0s and %s", o.Timeout, provision.ApplyTimeout)
	case o.InsecurePlaintextPassword && o.Scheme != "":
		return usage("insecure_plaintext_password stands in the place of a scheme")
	case o.Scheme == secret.InsecureClearText:
		return usage("clear text is asked for by insecure_plaintext_password")
	case o.Scheme != "" && o.Encode == nil:
		return usage("a scheme needs who encodes")
	}
	return &Provisioner{o}, nil
}

// Name implements [provision.Provisioner].
func (p *Provisioner) Name() string { return p.o.Name }

// Order implements [provision.Provisioner].
func (p *Provisioner) Order() int { return p.o.Order }

// Serves implements [provision.Provisioner].
func (p *Provisioner) Serves(o token.Owner) bool {
	for _, realm := range p.o.Realms {
		if realm == o.Realm {
			return true
		}
	}
	return len(p.o.Realms) == 0
}

// Prepare implements [provision.Provisioner]. Without a scheme the value is
// empty: the event says present or absent, and of what no more.
func (p *Provisioner) Prepare(ctx context.Context, _ provision.Target, s secret.Secret) ([]byte, error) {
	switch {
	case p.o.InsecurePlaintextPassword:
		return []byte(s.Reveal()), nil
	case p.o.Scheme != "":
		return p.o.Encode(ctx, p.o.Scheme, s)
	}
	return nil, nil
}

// event is what the command reads on its standard input, as one line of JSON.
type event struct {
	Event   string   `json:"event"`
	Action  string   `json:"action"` // present, or absent: nothing of the token is to be left
	Token   string   `json:"token"`
	Owner   string   `json:"owner"`
	Realm   string   `json:"realm"`
	Name    string   `json:"name"`
	EntryID string   `json:"entry_id,omitempty"`
	Service string   `json:"service"`
	Present []string `json:"present,omitempty"`
	Absent  []string `json:"absent,omitempty"`
}

func (p *Provisioner) event(e provision.Event) []byte {
	out := event{
		Event: e.ID, Action: "absent", Token: e.Token.String(),
		Owner: e.Owner.String(), Realm: e.Owner.Realm, Name: e.Owner.Name, EntryID: e.EntryID, Service: e.Service,
		Present: texts(e.Present), Absent: texts(e.Absent),
	}
	if len(e.Present) > 0 {
		out.Action = "present"
	}
	b, err := json.Marshal(out)
	if err != nil {
		panic(err) // of strings alone
	}
	return append(b, '\n')
}

// texts are the values that are not empty.
func texts(values [][]byte) (list []string) {
	for _, v := range values {
		if len(v) > 0 {
			list = append(list, string(v))
		}
	}
	return list
}

// inherited are the variables that the command gets of our environment, which
// may hold secrets.
var inherited = []string{"PATH", "HOME", "LANG"}

// Apply implements [provision.Provisioner]. Exit code 0 is the
// acknowledgement.
func (p *Provisioner) Apply(ctx context.Context, e *provision.Event) error {
	within, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	command := exec.CommandContext(within, p.o.Command[0], p.o.Command[1:]...)
	command.Stdin = bytes.NewReader(p.event(*e))
	said := &firstBytes{limit: maxSaid}
	command.Stderr = said
	command.Env = []string{}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	killGroup(command)
	command.WaitDelay = time.Second // for pipes that a grandchild has left open
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrWaitDelay) && command.ProcessState.Success():
		return nil // it has said yes, whatever it left running
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return token.Errorf(token.ErrCannotTell, "the command %s was given up: %w", p.o.Command[0], ctx.Err())
	case within.Err() != nil:
		return token.Errorf(token.ErrCannotTell, "the command %s has not ended within %s", p.o.Command[0], p.o.Timeout)
	case errors.As(err, &exit):
		return token.Errorf(token.ErrRefused, "the command %s ended with %s%s", p.o.Command[0], exit.ProcessState, colon(said.line(*e)))
	}
	return token.Errorf(token.ErrCannotTell, "the command %s cannot be run: %w", p.o.Command[0], err)
}

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// maxSaid is how much of what the command says is kept, in bytes; of it one line
// of maxLine characters is shown.
const (
	maxSaid = 4096
	maxLine = 200
)

// firstBytes keeps the beginning of what is written to it.
type firstBytes struct {
	b     []byte
	limit int
}

func (f *firstBytes) Write(p []byte) (int, error) {
	f.b = append(f.b, p[:min(len(p), f.limit-len(f.b))]...)
	return len(p), nil
}

// line is the first line that says anything, in visible characters, without
// the values of an event.
func (f *firstBytes) line(e provision.Event) string {
	text, longest := string(f.b), 0
	for _, values := range [][][]byte{e.Present, e.Absent} {
		for _, v := range texts(values) {
			text = strings.ReplaceAll(text, v, "[redacted]")
			longest = max(longest, len(v))
		}
	}
	if len(f.b) == f.limit { // which may have cut a value in two
		text = text[:max(len(text)-longest, 0)]
	}
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	text = strings.Map(func(c rune) rune {
		if !unicode.IsGraphic(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "?"))
	if shown := []rune(strings.TrimSpace(text)); len(shown) > maxLine {
		return fmt.Sprintf("%s…", string(shown[:maxLine]))
	}
	return strings.TrimSpace(text)
}
