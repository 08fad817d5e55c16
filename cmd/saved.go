package cmd

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

func newSavedCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "saved",
		Short: "Saved refresh tokens: what this machine keeps",
		Long: `A refresh token that "tokenctl generate refresh NAME --save" has made is kept on
this machine, in its keyring or, where none answers, in a file that nobody else
can read. exchange, copy and exec use it by its name; where its connection
rotates, the new one takes its place.`,
		Example: `  tokenctl saved list
  tokenctl saved remove ci-deploy`,
	}
	asGroup(c)
	c.AddCommand(newSavedListCommand(a), newSavedRemoveCommand(a))
	return c
}

func savedKind() render.Kind[wallet.SavedToken] {
	type saved = wallet.SavedToken
	server := func(s *saved) string {
		if !strings.HasPrefix(s.Place, "http") {
			return ""
		}
		return s.Place
	}
	return render.Kind[saved]{
		Fields: func(f *render.Fields, s *saved) {
			f.Text("name", s.Name)
			f.Text("server", server(s))
			f.Text("store", strings.TrimPrefix(s.Place, server(s)))
			f.Text("token", s.Token.Place())
		},
		Columns: []render.Column[saved]{
			{Header: "NAME", Text: func(s *saved) string { return s.Name }},
			{Header: "WHERE", Text: func(s *saved) string { return s.Place }},
			{Header: "TOKEN", Text: func(s *saved) string { return s.Token.Place() }},
		},
		Name: func(s *saved) string { return s.Name },
	}
}

// place is where the tokens are, as saved ones are known by: the URL of the
// server, or of the file.
func (a *app) place() (string, error) {
	t, err := a.target()
	if err != nil {
		return "", err
	}
	if t.server != "" {
		u, err := url.Parse(t.server)
		if err != nil {
			return "", err
		}
		u.Scheme, u.Host, u.Path = strings.ToLower(u.Scheme), strings.ToLower(u.Host), strings.TrimRight(u.Path, "/")
		return u.String(), nil
	}
	path, err := storePath(t.store)
	return "bolt://" + path, err
}

// savedToken is the refresh token that this machine keeps under a name.
func (a *app) savedToken(ctx context.Context, name string) (secret.Secret, wallet.Ref, error) {
	w, place, err := a.keeper(name)
	if err != nil {
		return secret.Secret{}, "", err
	}
	return w.Saved(ctx, place, name)
}

// keeper is the wallet, and the place, of which it may keep a refresh token of a
// name.
func (a *app) keeper(name string) (w *wallet.Wallet, place string, err error) {
	if err := token.CheckName("saved token", name); err != nil {
		return nil, "", err
	}
	if place, err = a.place(); err != nil {
		return nil, "", err
	}
	w, err = a.wallet()
	return w, place, err
}

// save keeps a refresh token under its name, in the place of one that is kept; if
// was is given, of that one alone.
func (a *app) save(ctx context.Context, name string, s secret.Secret, was wallet.Ref) error {
	w, place, err := a.keeper(name)
	if err != nil {
		return err
	}
	return w.Save(ctx, place, name, s, was)
}

// canSave says why another refresh token could not take the place of a saved one.
func (a *app) canSave(ctx context.Context, was wallet.Ref) error {
	w, err := a.wallet()
	if err != nil {
		return err
	}
	return w.CanSave(ctx, was)
}

// redeemSaved exchanges a saved refresh token. Where the connection rotates, the
// new one is saved before anything else is done: if that fails, or the process
// ends before it, the old one gets the same answer again for a moment. That a new
// one can be saved is seen to before, since after it the moment may pass.
func (a *app) redeemSaved(ctx context.Context, name string, x authority.Exchange) (access authority.AccessToken, err error) {
	var was wallet.Ref
	if x.RefreshToken, was, err = a.savedToken(ctx, name); err != nil {
		return access, err
	}
	s, err := a.existing(ctx)
	if err != nil {
		return access, err
	}
	if err := a.canSave(ctx, was); err != nil && !rotatesNever(ctx, s, x.RefreshToken) {
		return access, fmt.Errorf("the refresh token %q was not exchanged, since a new one could not be saved: %w", name, err)
	}
	if access, err = s.Exchange(ctx, x); err != nil || access.RefreshToken.IsZero() {
		return access, err
	}
	if err := a.save(context.WithoutCancel(ctx), name, access.RefreshToken, was); err != nil {
		return access, notSaved(name, err)
	}
	return access, nil
}

// rotatesNever reports whether it is sure that a refresh token stays what it is:
// then nobody needs to be able to save another.
func rotatesNever(ctx context.Context, s authority.Service, refresh secret.Secret) bool {
	id, err := s.Verify(ctx, authority.Presented{Credential: refresh, Kinds: []token.Kind{token.Refresh}})
	if err != nil {
		return false
	}
	c, err := s.Connection(ctx, id.Connection)
	return err == nil && !c.Rotate
}

// notSaved is for a new refresh token that could not be saved. What the wallet
// says of the way out comes first: without that, doing it again does not help.
func notSaved(name string, err error) error {
	hint := "do it again at once: the old one gets the same new one for a moment"
	var inner *token.Error
	if errors.As(err, &inner) && inner.Hint != "" {
		hint = inner.Hint + "; then " + hint
	}
	return token.Errorf(token.ErrCannotTell, "the refresh token %q was rotated, and the new one could not be saved: %w", name, err).WithHint("%s", hint)
}

// completeSaved offers the saved refresh tokens.
func (a *app) completeSaved(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	place, err := a.placeForCompletion()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	w, err := a.wallet()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	list, _ := w.AllSaved() // completion never fails
	var names []string
	for _, s := range list {
		if s.Place == place {
			names = append(names, s.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) placeForCompletion() (string, error) {
	if err := a.settings.load(); err != nil {
		return "", err
	}
	return a.place()
}
