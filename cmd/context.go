package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

func newContextCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "context",
		Short: "Contexts: the servers and stores that you work with",
		Long: `A context is a server, or a store, under a name. All commands work in the
current one, unless --context, --server or --store (or the environment) says
otherwise. Contexts are kept on this machine, the credentials of their servers
in its keyring or, where none answers, in a file that nobody else can read.`,
		Example: `  tokenctl context add prod --server https://tokens.example.org
  tokenctl context use prod`,
	}
	asGroup(c)
	c.AddCommand(newContextAddCommand(a), newContextUseCommand(a), newContextListCommand(a), newContextShowCommand(a), newContextRemoveCommand(a))
	return c
}

// shownContext is a context, and whether it is the current one.
type shownContext struct {
	wallet.Context
	current bool
}

func contextKind() render.Kind[shownContext] {
	return render.Kind[shownContext]{
		Fields: func(f *render.Fields, c *shownContext) {
			f.Text("name", c.Name)
			f.Bool("current", c.current)
			f.Text("server", c.Server)
			f.Text("store", c.Store)
			f.Text("ca_file", c.CAFile)
			f.Bool("insecure_plain_http", c.PlainHTTP)
			f.Text("credential", c.Login.Place())
		},
		Columns: []render.Column[shownContext]{
			{Header: "CURRENT", Text: func(c *shownContext) string {
				if c.current {
					return "*"
				}
				return ""
			}, None: " "},
			{Header: "NAME", Text: func(c *shownContext) string { return c.Name }},
			{Header: "WHERE", Text: func(c *shownContext) string { return c.Server + c.Store }},
			{Header: "CREDENTIAL", Text: func(c *shownContext) string { return c.Login.Place() }},
			{Header: "CA FILE", Text: func(c *shownContext) string { return c.CAFile }, Wide: true},
		},
		Name: func(c *shownContext) string { return c.Name },
	}
}

// shownContexts are all contexts of this machine.
func (a *app) shownContexts() (list []shownContext, err error) {
	w, err := a.wallet()
	if err != nil {
		return nil, err
	}
	known, current, err := w.Contexts()
	for _, c := range known {
		list = append(list, shownContext{c, c.Name == current})
	}
	return list, err
}
