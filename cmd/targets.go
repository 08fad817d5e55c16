package cmd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// targets are the tokens that a changing command is about: named one by one,
// or chosen by selectors.
type targets struct {
	selectorFlags
	dryRun bool
	named  bool // on the command line, or the one user token of delete
}

func (t *targets) bind(a *app, c *cobra.Command) {
	t.selectorFlags.bind(a, c)
	c.Flags().BoolVar(&t.dryRun, "dry-run", false, "show what would be changed, and change nothing")
	c.ValidArgsFunction = a.completeTokens
}

// tokensAndMe is what finding tokens needs: the tokens, and who the caller is.
type tokensAndMe interface {
	authority.Tokens
	WhoAmI(context.Context) (token.Identity, error)
}

// find resolves the arguments, or else the selectors.
func (t *targets) find(ctx context.Context, a *app, s tokensAndMe, args []string) ([]token.Token, error) {
	switch {
	case len(args) > 0 && t.choosesBeyondOwner():
		return nil, token.Errorf(token.ErrUsage, "name tokens or choose them by flags, not both")
	case len(args) > 0:
		t.named = true
		var found []token.Token
		for _, arg := range args {
			tok, err := resolve(ctx, s, t.owner, arg)
			if err != nil {
				return nil, err
			}
			if !slices.ContainsFunc(found, func(f token.Token) bool { return f.ID == tok.ID }) {
				found = append(found, tok)
			}
		}
		return found, nil
	case !t.given():
		return nil, token.Errorf(token.ErrUsage, "no token is named").WithHint("name an id or a name of your own, or choose by flags such as --kind or --unused-for")
	}
	me, err := s.WhoAmI(ctx)
	if err != nil {
		return nil, err
	}
	sel, err := t.selector(me.Owner, time.Now())
	if err != nil {
		return nil, err
	}
	p := a.progress("found", true)
	defer p.Done()
	var found []token.Token
	for tok, err := range s.List(ctx, sel) {
		p.Add(1)
		if err != nil {
			return nil, err
		}
		found = append(found, tok)
	}
	if len(found) == 0 {
		return nil, token.Errorf(token.ErrNotFound, "no token matches")
	}
	return found, nil
}

// resolve finds the token of an argument: an id, or the name of a live token
// of the owner (empty: the caller).
func resolve(ctx context.Context, s tokensAndMe, owner, arg string) (token.Token, error) {
	if secret.LooksLikeID(arg) {
		id, err := token.ParseID(arg)
		if err != nil {
			return token.Token{}, err
		}
		return getOf(ctx, s, owner, id)
	}
	if err := token.CheckName("token name", arg); err != nil {
		return token.Token{}, err
	}
	o, err := ownerOrMe(ctx, s, owner)
	if err != nil {
		return token.Token{}, err
	}
	for tok, err := range s.List(ctx, token.Selector{Name: arg, Owner: o}) {
		return tok, err // a live name is unique
	}
	return token.Token{}, token.Errorf(token.ErrNotFound, "%s has no live token named %q", o, arg).WithHint("tokenctl list shows names and ids")
}

// getOf reads the token of an id; with an owner it has to be theirs.
func getOf(ctx context.Context, s authority.Tokens, owner string, id token.ID) (token.Token, error) {
	t, err := s.Get(ctx, id)
	if err != nil || owner == "" {
		return t, err
	}
	o, err := token.ParseOwner(owner)
	if err == nil && t.Owner != o {
		err = token.Errorf(token.ErrNotFound, "%s has no token %s", o, id)
	}
	return t, err
}

// ownerOrMe is the owner that a flag names, or the caller.
func ownerOrMe(ctx context.Context, s tokensAndMe, owner string) (token.Owner, error) {
	if owner != "" {
		return token.ParseOwner(owner)
	}
	me, err := s.WhoAmI(ctx)
	return me.Owner, err
}

func refs(tokens []token.Token) []token.Ref {
	out := make([]token.Ref, len(tokens))
	for i := range tokens {
		out[i] = tokens[i].Ref()
	}
	return out
}

// change asks, lets apply do it, and tells what was done. With --dry-run it
// only answers what it would be done to.
func (t *targets) change(ctx context.Context, a *app, s tokensAndMe, found []token.Token, verb, done string, apply func(context.Context, []token.Ref) error) error {
	if t.dryRun {
		return answerList(ctx, a, render.Tokens(), all(found), "nothing matches")
	}
	if err := t.ask(ctx, a, found, verb); err != nil {
		return err
	}
	p := a.progress(verb+" "+count(found), true)
	err := apply(ctx, refs(found))
	p.Done()
	if err != nil {
		return err
	}
	a.say("%s %s", done, count(found))
	if !a.settings.FormatSet() {
		return nil
	}
	return a.answerChanged(ctx, s, found)
}

// ask shows what is about to be changed where that is not plain from the
// command line, and asks. One token that was named goes through without a
// question where nobody can be asked; several need a yes.
func (t *targets) ask(ctx context.Context, a *app, found []token.Token, verb string) error {
	several := len(found) > 1 || !t.named
	if !several && !a.interactive() {
		return nil
	}
	if several && a.showsBefore() {
		if err := a.show(ctx, found); err != nil {
			return err
		}
	}
	return a.confirm(question(verb, found))
}

// answerChanged writes the tokens as they are now, for programs that asked for
// a format.
func (a *app) answerChanged(ctx context.Context, s authority.Tokens, found []token.Token) error {
	return answerList(ctx, a, render.Tokens(), func(yield func(token.Token, error) bool) {
		for _, was := range found {
			tok, err := s.Get(ctx, was.ID)
			if errors.Is(err, token.ErrNotFound) {
				tok, err = was, nil // deleted: as it was
			}
			if !yield(tok, err) || err != nil {
				return
			}
		}
	}, "")
}

// show tells the person which tokens are meant, on stderr: it is no answer.
func (a *app) show(ctx context.Context, found []token.Token) error {
	_, err := render.Stream(ctx, a.stderr, render.Options{Format: render.Table, Now: time.Now(), Width: terminal.Width(a.stderr, a.env)}, render.Tokens(), all(found))
	return err
}

func question(verb string, found []token.Token) string {
	if len(found) == 1 {
		t := found[0]
		name := t.ID.String()
		if t.Name != "" {
			name += " (" + t.Name + ")"
		}
		return fmt.Sprintf("%s the %s token %s of %s?", verb, t.Kind, name, t.Owner)
	}
	return fmt.Sprintf("%s %s?", verb, count(found))
}

func count(found []token.Token) string {
	if len(found) == 1 {
		return "1 token"
	}
	return fmt.Sprintf("%d tokens", len(found))
}

// all makes a list of a slice.
func all[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}
