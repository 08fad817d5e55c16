// Package cmd is the command line: one file a command, each written once
// against the narrowest interface of package authority that it needs.
package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

// app is what all commands of one run share: streams, settings, and the
// service, which is opened on first use.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	settings       *settings
	parsed         bool // the command line made sense; what fails now is not its fault
	jsonErrors     bool // the command line asks for JSON, whether or not it made sense

	token    secret.Secret         // what the environment has for a server
	kept     *wallet.Wallet        // what this machine remembers
	dirs     []directory.Directory // those of the config file, once they are open
	unusable error                 // why one of them is a stand-in
	ended    context.Context       // by a signal
	// toldPending: what has not reached other systems was told already.
	toldPending bool
	open        authority.Service
	held        *heldFile // what open works on, if that is a local file
	onClose     []func() error
}

// Main runs tokenctl and returns its exit code. Only the caller exits.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	if len(args) > 0 && args[0] == terminal.ClearerArg {
		return terminal.RunClearer(stdin)
	}
	// A reader of our output that goes away is an error to be handled, not the
	// end of the process: a token may have to be taken back. Not ignored, for
	// that would be inherited by the commands that we start.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // by nohup
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	defer stop()
	// The second signal ends the process: the first cannot reach an answer that
	// nobody reads.
	context.AfterFunc(ctx, stop)

	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, env: os.Getenv, settings: newSettings()}
	a.token = secret.FromText(os.Getenv(tokenVariable))
	os.Unsetenv(tokenVariable)
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(stderr, "tokenctl: this is a bug in tokenctl: %v\n%s", p, debug.Stack())
			code = exitBug
		}
	}()
	err := a.run(ctx, args)
	return a.report(interrupted(ctx, err))
}

// interrupted says that a signal ended the command. What the person has to know
// all the same, such as a token that could not be taken back, stays.
func interrupted(ctx context.Context, err error) error {
	switch {
	case err == nil || ctx.Err() == nil || errors.Is(err, terminal.ErrInterrupted):
		return err
	case errors.Is(err, context.Canceled):
		return terminal.ErrInterrupted
	}
	return fmt.Errorf("%w: %w", terminal.ErrInterrupted, err)
}

func (a *app) run(ctx context.Context, args []string) error {
	a.ended = ctx
	defer a.close()
	root := newRoot(a)
	a.jsonErrors = asksForJSON(args)
	for _, arg := range args {
		if err := refuseSecret(arg); err != nil {
			return err
		}
	}
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.parsed && kindOf(err) == nil {
		err = token.Errorf(token.ErrUsage, "%w", err).WithHint("tokenctl help shows what there is")
	}
	return err
}

// refuseSecret refuses a secret on the command line, where every process of
// the machine can read it and the shell remembers it.
func refuseSecret(arg string) error {
	if !secret.Contains(arg) && !nearlySecret.MatchString(arg) && !looksLikeJWT(arg) {
		return nil
	}
	return token.Errorf(token.ErrUsage, "a secret stands on the command line, where every process and the shell's history can see it").
		WithHint("hand it over on standard input or in a file, and revoke this one: it has been seen")
}

// nearlySecret is a secret with a typo: one character short of giving it away.
var nearlySecret = regexp.MustCompile(`tk[cprs]_[0-9A-Za-z]{40}`)

// refuseEmpty refuses flags that were given without a value, as by a script
// whose variable is not set: --owner "" must not mean the caller.
func refuseEmpty(flags *pflag.FlagSet) (err error) {
	flags.Visit(func(f *pflag.Flag) {
		nothing := ""
		if t := f.Value.Type(); t == "stringSlice" || t == "stringArray" {
			nothing = "[]"
		}
		if f.Value.Type() != "bool" && f.Value.String() == nothing && err == nil {
			err = token.Errorf(token.ErrUsage, "--%s is empty", f.Name)
		}
	})
	return err
}

// jwtForm is a JWT of any kind (RFC 7519 §3): two JSON objects and a signature,
// in base64url. It may stand in a longer argument, such as a command.
var jwtForm = regexp.MustCompile(`eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{20,}`)

func looksLikeJWT(arg string) bool { return jwtForm.MatchString(arg) }

// newRoot is the whole tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "tokenctl",
		Short: "Disposable credentials that stand in for a real login",
		Long: `tokenctl makes tokens that stand in for your real login in IDEs, scripts, CI
pipelines and old applications, exchanges them for short-lived access tokens,
and ends them. Tokens live in one local file, or at a server that holds it.

Exit codes: 0 done or accepted, 1 failed, 2 wrong usage, 3 refused, 4 not
found, 5 conflict, 6 cannot tell, 7 stopped for safety, 70 a bug, 130
interrupted.`,
		Example: `  tokenctl generate
  tokenctl list
  printf %s "$TOKEN" | tokenctl verify`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			a.parsed = true
			if c.Name() == cobra.ShellCompRequestCmd {
				return nil // wrong settings leave the names of commands to be completed
			}
			if err := refuseEmpty(c.Flags()); err != nil {
				return err
			}
			return a.settings.load()
		},
	}
	asGroup(root)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	a.settings.bind(root.PersistentFlags())
	root.AddCommand(
		newGenerateCommand(a), newListCommand(a), newShowCommand(a), newVerifyCommand(a), newExchangeCommand(a), newExecCommand(a), newCopyCommand(a), newSavedCommand(a),
		newRotateCommand(a), newRevokeCommand(a), newSuspendCommand(a), newResumeCommand(a), newDeleteCommand(a),
		newExpiringCommand(a), newLoginCommand(a), newLogoutCommand(a), newWhoamiCommand(a), newPasswdCommand(a), newContextCommand(a), newAdminCommand(a), newConfigCommand(a), newServeCommand(a), newCompletionCommand(a), newVersionCommand(a),
	)
	root.AddCommand(newPurgeCommand(a, "purge-orphans"))
	root.SetHelpCommand(newHelpCommand(a))
	a.completeFlags(root)
	return root
}

// asGroup makes a command that only has commands below it: alone it shows its
// help, anything else is wrong usage.
func asGroup(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return unknownCommand(c, args[0])
	}
	return c
}

// service opens the tokens on first use, wherever they are.
func (a *app) service(ctx context.Context) (authority.Service, error) {
	return a.serviceFor(ctx, createFresh)
}

// existing is service for commands that ask about a credential: with no store
// there nobody can tell, and none is made.
func (a *app) existing(ctx context.Context) (authority.Service, error) {
	return a.serviceFor(ctx, createNever)
}

// growing is service for commands that add something, and so may begin a store.
func (a *app) growing(ctx context.Context) (authority.Service, error) {
	return a.serviceFor(ctx, createAlways)
}

func (a *app) serviceFor(ctx context.Context, may creation) (authority.Service, error) {
	if a.open != nil {
		return a.open, nil
	}
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	var s authority.Service
	var end func() error
	if t.server != "" {
		s, end, err = a.openServer(t)
	} else {
		a.settings.inForce = t.store
		s, end, err = openLocal(ctx, a, may)
	}
	if err != nil {
		return nil, err
	}
	a.open = s
	a.onClose = append(a.onClose, end)
	return s, nil
}

func (a *app) close() {
	for _, end := range slices.Backward(a.onClose) { // what came last stands on what came first
		if err := end(); err != nil {
			a.warn(err)
		}
	}
	a.onClose = nil
}

// say writes a line to the person; --quiet silences it.
func (a *app) say(format string, args ...any) {
	if !a.settings.Quiet() {
		a.complain(format, args...)
	}
}

// complain writes a line that --quiet does not silence.
func (a *app) complain(format string, args ...any) {
	fmt.Fprintf(a.stderr, "tokenctl: %s\n", terminal.Sanitise(fmt.Sprintf(format, args...)))
}

// warn tells of what failed without changing the outcome.
func (a *app) warn(err error) {
	if a.settings.Verbose() {
		a.complain("warning: %v", err)
	}
}

// confirm asks the person at the terminal. What needs a yes and cannot get one
// has changed nothing.
func (a *app) confirm(question string) error {
	if a.settings.Yes() {
		return nil
	}
	if a.settings.NoInput() || !terminal.Interactive(a.stdin, a.stderr) {
		return token.Errorf(token.ErrUnsafe, "not confirmed: %s", question).WithHint("say --yes if that is what you want")
	}
	tty, err := terminal.Open()
	if err != nil {
		return token.Errorf(token.ErrUnsafe, "not confirmed: %w", err).WithHint("say --yes if that is what you want")
	}
	defer tty.Close()
	yes, err := tty.Confirm(question)
	if err != nil {
		return err
	}
	if !yes {
		return token.Errorf(token.ErrUnsafe, "not confirmed, nothing was changed")
	}
	return nil
}

// showsBefore says whether what is to be confirmed is shown on stderr before.
// With -o json nothing but the error object stands there, unless it is a person
// who reads it, and nobody says yes to what they have not seen.
func (a *app) showsBefore() bool {
	return !a.settings.Yes() && (!a.settings.JSONErrors() || a.interactive())
}

// interactive says whether there is a person whom a question can reach.
func (a *app) interactive() bool {
	return !a.settings.NoInput() && terminal.Interactive(a.stdin, a.stderr)
}

// renderOptions are how answers are written.
func (a *app) renderOptions() (render.Options, error) {
	format, err := a.settings.Format()
	if err != nil {
		return render.Options{}, err
	}
	mode, err := a.settings.ColourMode()
	if err != nil {
		return render.Options{}, err
	}
	return render.Options{
		Format: format, JQ: a.settings.JQ(), Now: time.Now(),
		Width:  terminal.Width(a.stdout, a.env),
		Colour: terminal.Colour(mode, a.env, terminal.IsTerminal(a.stdout)),
	}, nil
}

// errWrite marks an answer that stdout or a file did not take, as package
// render does.
var errWrite = errors.New("the answer could not be written")
