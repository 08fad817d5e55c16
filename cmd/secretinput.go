package cmd

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// maxSecret is more than the longest credential, a JWT of 16 KiB.
const maxSecret = 17 << 10

// secretInput is where a command takes a secret from: never from an argument.
type secretInput struct {
	name    string // of the flags: "credential", "refresh-token"
	what    string // "credential", "refresh token"
	file    string
	command string
}

// bind adds --NAME-file and --NAME-command.
func (in *secretInput) bind(c *cobra.Command, name, what string) {
	in.name, in.what = name, what
	c.Flags().StringVar(&in.file, name+"-file", "", "read the "+what+" from a file")
	c.Flags().StringVar(&in.command, name+"-command", "", "read the "+what+" from the output of a command")
}

// given says whether a flag names a source.
func (in *secretInput) given() bool { return in.file != "" || in.command != "" }

// read takes the secret from the file, the command, standard input, or a person
// who types it unseen. One line end after it is no part of it.
func (in *secretInput) read(ctx context.Context, a *app) (secret.Secret, error) {
	text, err := in.text(ctx, a)
	if err != nil {
		return secret.Secret{}, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(text, []byte("\r"))
	switch {
	case len(text) == 0:
		return secret.Secret{}, token.Errorf(token.ErrUsage, "the %s is empty", in.what)
	case len(text) >= maxSecret:
		return secret.Secret{}, token.Errorf(token.ErrMalformed, "the %s is over %d bytes long", in.what, maxSecret-1)
	}
	return secret.FromText(string(text)), nil
}

func (in *secretInput) text(ctx context.Context, a *app) ([]byte, error) {
	switch {
	case in.file != "" && in.command != "":
		return nil, token.Errorf(token.ErrUsage, "--%s-file and --%s-command exclude each other", in.name, in.name)
	case in.file != "":
		return in.readAll(ctx, func() (io.ReadCloser, error) { return os.Open(in.file) })
	case in.command != "":
		return in.run(ctx, a)
	case terminal.IsTerminal(a.stdin):
		if a.settings.NoInput() {
			return nil, token.Errorf(token.ErrUsage, "no %s on standard input", in.what)
		}
		tty, err := terminal.Open()
		if err != nil {
			return nil, token.Errorf(token.ErrUsage, "no %s on standard input, and %w", in.what, err)
		}
		defer tty.Close()
		text, err := tty.ReadSecret(in.what + ": ")
		return []byte(text), err
	}
	return in.readAll(ctx, func() (io.ReadCloser, error) { return io.NopCloser(a.stdin), nil })
}

// readAll reads as much as a secret may have. A signal ends it: what a pipe
// does not give, and what does not even open, cannot be waited for longer.
func (in *secretInput) readAll(ctx context.Context, open func() (io.ReadCloser, error)) ([]byte, error) {
	type outcome struct {
		text []byte
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		r, err := open()
		if err != nil {
			done <- outcome{err: err}
			return
		}
		defer r.Close()
		text, err := io.ReadAll(io.LimitReader(r, maxSecret))
		done <- outcome{text, err}
	}()
	select {
	case o := <-done:
		if o.err != nil {
			return nil, token.Errorf(token.ErrUsage, "the %s cannot be read: %w", in.what, o.err)
		}
		return o.text, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// run reads the output of a command. It is given to the shell, as the setting
// of git or ssh that it is like.
func (in *secretInput) run(ctx context.Context, a *app) ([]byte, error) {
	shell, flag := "/bin/sh", "-c"
	if runtime.GOOS == "windows" {
		shell, flag = "cmd.exe", "/c"
	}
	c := exec.CommandContext(ctx, shell, flag, in.command)
	c.WaitDelay = time.Second // for what it has started and what holds its output
	c.Stdin, c.Stderr = a.stdin, a.stderr
	output, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "the command for the %s failed: %w", in.what, err)
	}
	text, err := io.ReadAll(io.LimitReader(output, maxSecret))
	if len(text) == maxSecret {
		output.Close() // too long; the rest is of no interest
	}
	if waited := c.Wait(); err == nil && len(text) < maxSecret {
		err = waited
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, token.Errorf(token.ErrUsage, "the command for the %s failed: %w", in.what, err)
	}
	return text, nil
}

// clientInput is where an exchange takes the secret of the client from: never from
// standard input, where the refresh token comes.
type clientInput struct{ secretInput }

func (in *clientInput) bind(c *cobra.Command) {
	in.secretInput.bind(c, "client-secret", "client secret")
}

// read is no secret if none is named.
func (in *clientInput) read(ctx context.Context, a *app) (secret.Secret, error) {
	if !in.given() {
		return secret.Secret{}, nil
	}
	s, err := in.secretInput.read(ctx, a)
	if err != nil {
		return s, err
	}
	if text, err := secret.Parse(s.Reveal()); err != nil || text.Form != secret.ClientSecret {
		return secret.Secret{}, token.Errorf(token.ErrMalformed, "what --client-secret-file or --client-secret-command gives is no client secret").
			WithHint("it begins with tkc_, as tokenctl admin connection secret shows it")
	}
	return s, nil
}

// wantsStdin is the argument that stands for standard input, given or not.
func wantsStdin(_ *cobra.Command, args []string) error {
	if len(args) == 0 || len(args) == 1 && args[0] == "-" {
		return nil
	}
	return token.Errorf(token.ErrUsage, "unexpected argument %q", args[0]).WithHint("a secret comes on standard input: - or no argument")
}
