package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// answer writes one value to stdout.
func answer[T any](ctx context.Context, a *app, k render.Kind[T], v T) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	return render.One(ctx, a.stdout, o, k, v)
}

// answerList writes a list to stdout while it is read. An empty one is told to
// the person, not to the program.
func answerList[T any](ctx context.Context, a *app, k render.Kind[T], list iter.Seq2[T, error], none string) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	// On a terminal the list itself shows that work is under way.
	p := a.progress("read", !terminal.IsTerminal(a.stdout))
	n, err := render.Stream(ctx, a.stdout, o, k, counted(list, p))
	p.Done()
	if err != nil {
		return err
	}
	if n == 0 && !a.settings.FormatSet() {
		a.say("%s", none)
	}
	return nil
}

// progress shows a line on stderr, if that is a terminal, when work lasts.
func (a *app) progress(label string, wanted bool) *terminal.Progress {
	return terminal.NewProgress(a.stderr, wanted && !a.settings.Quiet() && terminal.IsTerminal(a.stderr), label)
}

// counted tells a progress line of every value that goes by.
func counted[T any](list iter.Seq2[T, error], p *terminal.Progress) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range list {
			p.Add(1)
			if !yield(v, err) {
				return
			}
		}
	}
}

// written marks the error of writing to stdout what package render has not
// written.
func written(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errWrite, err)
}

// handover is how a new secret reaches the person or program that asked for
// it: stdout, a file, the clipboard.
type handover struct {
	copy   string
	copies []string // what --copy may be
	noCopy bool
	file   string
}

func (h *handover) bind(c *cobra.Command, copies ...string) {
	h.copies = copies
	f := c.Flags()
	f.StringVar(&h.copy, "copy", "", "put this on the clipboard, also without a terminal: "+strings.Join(copies, " or "))
	f.BoolVar(&h.noCopy, "no-copy", false, "leave the clipboard alone")
	f.StringVar(&h.file, "output-file", "", "write the secret to a new file (0600) instead of standard output")
	c.RegisterFlagCompletionFunc("copy", cobra.FixedCompletions(copies, cobra.ShellCompDirectiveNoFileComp))
}

// check says before anything is made whether the secret could be handed over
// as asked.
func (h *handover) check(a *app) error {
	if h.copy != "" && !slices.Contains(h.copies, h.copy) {
		return token.Errorf(token.ErrUsage, "--copy %q is not %s", h.copy, strings.Join(h.copies, " or "))
	}
	if h.copy != "" && h.noCopy {
		return token.Errorf(token.ErrUsage, "--copy and --no-copy exclude each other")
	}
	if h.file == "" && terminal.IsClosed(a.stdout) {
		return fmt.Errorf("%w: standard output is closed", errWrite)
	}
	if _, err := os.Lstat(h.file); h.file != "" && err == nil {
		return errFileThere(h.file)
	}
	return nil
}

func errFileThere(path string) error {
	return token.Errorf(token.ErrConflict, "the file %s is there already", path).WithHint("name another one, or remove it first")
}

// handOver shows an issued secret once. If it cannot be shown, the token is
// taken back: nobody is left with a live token that nobody saw, and where it
// replaced a secret, that one stays.
func (a *app) handOver(ctx context.Context, tokens authority.Tokens, h *handover, issued authority.Issued) error {
	return handing(func() error {
		return showNew(ctx, a, h, render.Issued(), issued)
	}, func() {
		a.copyIssued(ctx, h, issued)
	}, func(err error) error {
		return a.takenBack(ctx, tokens, issued, err)
	})
}

// handing shows a new secret and then copies it. If it cannot be shown, or that
// panics, undo sees to it that nobody is left with a secret that nobody saw, and
// makes the error.
func handing(show func() error, copied func(), undo func(error) error) error {
	shown := false
	defer func() {
		if p := recover(); p != nil {
			if !shown {
				_ = undo(errWrite)
			}
			panic(p)
		}
	}()
	if err := show(); err != nil {
		return undo(err)
	}
	shown = true
	copied()
	return nil
}

// takenBack takes a token back that could not be handed over.
func (a *app) takenBack(ctx context.Context, tokens authority.Tokens, issued authority.Issued, err error) error {
	// An interrupt must not leave the token behind.
	if back := tokens.TakeBack(context.WithoutCancel(ctx), issued.Token.Ref()); back != nil {
		return token.Errorf(token.ErrCannotTell, "%w; and token %s could not be taken back: %w", err, issued.Token.ID, back).
			WithHint("revoke it: tokenctl revoke %s", issued.Token.ID)
	}
	if issued.Token.Revision > 1 { // it was rotated
		return fmt.Errorf("%w; the secret that token %s had before stays", err, issued.Token.ID)
	}
	return fmt.Errorf("%w; token %s was taken back", err, issued.Token.ID)
}

// showNew writes what has a new secret to stdout or to a new file.
func showNew[T any](ctx context.Context, a *app, h *handover, k render.Kind[T], v T) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	// People get labelled lines, programs the secret alone.
	if o.Format == render.Table && o.JQ == "" && !terminal.IsTerminal(a.stdout) {
		o.Format = render.Raw
	}
	if h.file == "" {
		return render.One(ctx, a.stdout, o, k, v)
	}
	if o.Format == render.Table && o.JQ == "" {
		o.Format = render.Raw
	}
	return toNewFile(h.file, func(w io.Writer) error { return render.One(ctx, w, o, k, v) })
}

// toNewFile writes a file that nobody else can read and that was not there; it
// is complete on the disk, or gone.
func toNewFile(path string, write func(io.Writer) error) error {
	var failed error
	err := privatefile.Create(path, func(w io.Writer) error {
		failed = write(w)
		return failed
	})
	switch {
	case failed != nil:
		return failed
	case errors.Is(err, os.ErrExist):
		return errFileThere(path)
	}
	return written(err)
}

// checkReplaceable says before anything is used up whether a file can be put
// there.
func checkReplaceable(path string) error {
	if path == "" {
		return nil
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return token.Errorf(token.ErrUsage, "%s is no regular file", path)
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return token.Errorf(token.ErrUsage, "there is no folder %s", filepath.Dir(path))
	}
	return nil
}

// copyIssued puts the new secret on the clipboard.
func (a *app) copyIssued(ctx context.Context, h *handover, issued authority.Issued) {
	text := issued.Secret
	if issued.Token.Kind == token.User {
		switch h.copy {
		case "code":
			text = secret.FromText(issued.Token.ID.String())
		case "pair":
			text = secret.FromText(issued.Token.ID.String() + ":" + issued.Secret.Reveal())
		}
	}
	a.copySecret(ctx, h, text)
}

// copySecret puts a secret on the clipboard: on a terminal unless told not to,
// without one only when told to. No clipboard is a note, not a failure.
func (a *app) copySecret(ctx context.Context, h *handover, s secret.Secret) {
	mode, err := a.settings.ClipboardMode()
	if err != nil || mode == terminal.ClipboardOff || h.noCopy {
		return
	}
	if h.copy == "" && (h.file != "" || !terminal.IsTerminal(a.stdout)) {
		return
	}
	if err := a.copyOrFail(ctx, s); err != nil {
		a.say("not on the clipboard: %v", err)
	}
}

// copyOrFail puts a secret on the clipboard, and says so.
func (a *app) copyOrFail(ctx context.Context, s secret.Secret) error {
	mode, err := a.settings.ClipboardMode()
	if err != nil {
		return err
	}
	o := terminal.CopyOptions{Mode: mode, ClearAfter: a.settings.ClipboardTimeout(), Env: a.env}
	if tty, err := terminal.Open(); err == nil {
		defer tty.Close()
		o.TTY = tty
	}
	done, err := terminal.Copy(ctx, s.Reveal(), o)
	if text := done.String(); err == nil && text != "" {
		a.say("%s", text)
	}
	return err
}

// showAccessToken writes an access token the way [showNew] writes an
// issued secret. There is nothing to take back: nobody can revoke it but by
// its parent, and it ends soon.
func (a *app) showAccessToken(ctx context.Context, h *handover, access authority.AccessToken) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	if o.Format == render.Table && o.JQ == "" {
		o.Format = render.Raw
	}
	if h.file == "" {
		return render.One(ctx, a.stdout, o, render.AccessTokens(), access)
	}
	return toNewFile(h.file, func(w io.Writer) error { return render.One(ctx, w, o, render.AccessTokens(), access) })
}
