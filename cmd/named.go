package cmd

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// named is a kind of setting of which each has a name: accounts, connections,
// services and identity providers. All are listed, shown, changed and deleted in
// the same way; their commands say what is special to a kind.
type named[T any] struct {
	what string // as messages call one
	ends string // what the question before a deletion adds to it
	kind func() render.Kind[T]
	name func(T) string
	// check refuses what cannot be a name before anything is opened; nil: nothing.
	check func(name string) error

	list   func(authority.Service, context.Context) iter.Seq2[T, error]
	get    func(authority.Service, context.Context, string) (T, error)
	set    func(authority.Service, context.Context, T) (T, error)
	remove func(authority.Service, context.Context, string) error
}

var (
	connections = named[token.Connection]{
		what: "connection", kind: render.Connections, name: func(c token.Connection) string { return c.Name },
		list: authority.Service.ListConnections, get: authority.Service.Connection,
		set: authority.Service.SetConnection, remove: authority.Service.DeleteConnection,
	}
	services = named[token.ServiceConfig]{
		what: "service", kind: render.Services, name: func(s token.ServiceConfig) string { return s.Name },
		list: authority.Service.ListServices, get: authority.Service.Service,
		set: authority.Service.SetService, remove: authority.Service.DeleteService,
	}
	providers = named[token.Provider]{
		what: "identity provider", kind: render.Providers, name: func(p token.Provider) string { return p.Name },
		list: authority.Service.ListProviders, get: authority.Service.Provider,
		set: authority.Service.SetProvider, remove: authority.Service.DeleteProvider,
	}
	accounts = named[token.Account]{
		what: "account", ends: " and revoke all of its tokens", kind: render.Accounts,
		name: func(a token.Account) string { return a.Owner.String() },
		check: func(name string) error {
			_, err := token.ParseOwner(name)
			return err
		},
		get: func(s authority.Service, ctx context.Context, name string) (token.Account, error) {
			o, err := token.ParseOwner(name)
			if err != nil {
				return token.Account{}, err
			}
			return s.Account(ctx, o)
		},
		set: authority.Service.SetAccount,
		remove: func(s authority.Service, ctx context.Context, name string) error {
			o, err := token.ParseOwner(name)
			if err != nil {
				return err
			}
			return s.DeleteAccount(ctx, o)
		},
	}
)

// showAll is what a command does that lists all of them.
func (n *named[T]) showAll(a *app) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		s, err := a.service(c.Context())
		if err != nil {
			return err
		}
		return answerList(c.Context(), a, n.kind(), n.list(s, c.Context()), "no "+n.what+"s")
	}
}

// open reads one.
func (n *named[T]) open(ctx context.Context, a *app, name string) (s authority.Service, v T, err error) {
	if n.check != nil {
		if err := n.check(name); err != nil {
			return s, v, err
		}
	}
	if s, err = a.service(ctx); err == nil {
		v, err = n.get(s, ctx, name)
	}
	return s, v, err
}

// show is what a command does that shows the one that its argument names.
func (n *named[T]) show(a *app) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		_, v, err := n.open(c.Context(), a, args[0])
		if err != nil {
			return err
		}
		return answer(c.Context(), a, n.kind(), v)
	}
}

// delete is what a command does that deletes the one that its argument names.
func (n *named[T]) delete(a *app) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, v, err := n.open(c.Context(), a, args[0])
		if err != nil {
			return err
		}
		name := n.name(v)
		if err := a.confirm("delete the " + n.what + " " + name + n.ends + "?"); err != nil {
			return err
		}
		if err := n.remove(s, c.Context(), name); err != nil {
			return err
		}
		return n.tell(c.Context(), a, v, "deleted")
	}
}

// change reads one, has it edited, writes it back and tells of it.
func (n *named[T]) change(ctx context.Context, a *app, name, done string, edit func(*T) error) (v T, err error) {
	s, v, err := n.open(ctx, a, name)
	if err != nil {
		return v, err
	}
	if err := edit(&v); err != nil {
		return v, err
	}
	if v, err = n.set(s, ctx, v); err != nil {
		return v, err
	}
	return v, n.tell(ctx, a, v, done)
}

// add has one added, in a new store if there is none, and tells of it.
func (n *named[T]) add(ctx context.Context, a *app, add func(authority.Service) (T, error)) (v T, err error) {
	s, err := a.growing(ctx)
	if err != nil {
		return v, err
	}
	if v, err = add(s); err != nil {
		return v, err
	}
	return v, n.tell(ctx, a, v, "added")
}

// tell says what was done to one, and shows it to a program that wants to know.
func (n *named[T]) tell(ctx context.Context, a *app, v T, done string) error {
	a.say("%s the %s %s", done, n.what, n.name(v))
	if !a.settings.FormatSet() {
		return nil
	}
	return answer(ctx, a, n.kind(), v)
}
