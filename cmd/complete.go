package cmd

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const (
	// completeLimit is how long a person waits for a completion at the most.
	completeLimit = 400 * time.Millisecond
	// completeMost is how many candidates are offered.
	completeMost = 200
)

// completer offers candidates. Completion never fails and never asks: what
// cannot be had in time is not offered. No candidate holds a secret.
type completer = func(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// candidates runs a look-up under the limit. Completion does not run the
// command, so settings are loaded here.
func (a *app) candidates(c *cobra.Command, look func(context.Context, authority.Service) []string) ([]string, cobra.ShellCompDirective) {
	if a.settings.load() != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completeLimit)
	defer cancel()
	found := make(chan []string, 1)
	// What is late is left behind with a service of its own: the process ends
	// anyway.
	late := &app{stdin: a.stdin, stdout: a.stdout, stderr: a.stderr, env: a.env, settings: a.settings, token: a.token}
	go func() {
		defer late.close()
		s, err := late.existing(ctx)
		if err != nil {
			found <- nil
			return
		}
		found <- look(ctx, s)
	}()
	select {
	case list := <-found:
		return list, cobra.ShellCompDirectiveNoFileComp
	case <-ctx.Done():
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

// described is a candidate with its description, in the form that cobra takes.
func described(name, text string) string { return name + "\t" + terminal.Sanitise(text) }

func (a *app) completeTokens(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		me, err := s.WhoAmI(ctx)
		if err != nil {
			return nil
		}
		for t, err := range s.List(ctx, token.Selector{Owner: me.Owner}) {
			if err != nil || len(list) >= completeMost {
				break
			}
			name, what := t.ID.String(), t.Kind.String()+" token"
			if t.Name != "" {
				name, what = t.Name, what+" "+name
			}
			if strings.HasPrefix(name, toComplete) && !slices.Contains(args, name) {
				list = append(list, described(name, what+", "+string(t.Status)))
			}
		}
		return list
	})
}

func (a *app) completeOwners(c *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		for acc, err := range s.ListAccounts(ctx, "", token.Owner{}) {
			if err != nil || len(list) >= completeMost {
				break
			}
			name := acc.Owner.String()
			if acc.Owner.Realm == token.LocalRealm && !strings.HasPrefix(toComplete, token.LocalRealm+"/") {
				name = acc.Owner.Name
			}
			if strings.HasPrefix(name, toComplete) && !strings.ContainsAny(name, " \t") {
				list = append(list, described(name, acc.DisplayName))
			}
		}
		return list
	})
}

// completeOwnerArgument completes the one argument of a command on an account.
func (a *app) completeOwnerArgument(c *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeOwners(c, args, toComplete)
}

func (a *app) completeConnections(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && c.ValidArgsFunction != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		for conn, err := range s.ListConnections(ctx) {
			if err != nil || len(list) >= completeMost {
				break
			}
			list = append(list, described(conn.Name, conn.EntityID))
		}
		return list
	})
}

// completeRoles offers the roles that connections and accounts know.
func (a *app) completeRoles(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(c, func(ctx context.Context, s authority.Service) []string {
		known := map[token.Role]string{
			token.Admin: "everything", token.Auditor: "reading everything", token.Introspect: "asking about others' tokens",
		}
		for conn, err := range s.ListConnections(ctx) {
			if err != nil {
				break
			}
			for _, r := range conn.Roles {
				known[r] = "offered by " + conn.Name
			}
		}
		for acc, err := range s.ListAccounts(ctx, "", token.Owner{}) {
			if err != nil || len(known) >= completeMost {
				break
			}
			for _, r := range acc.Roles {
				if _, there := known[r]; !there {
					known[r] = "of " + acc.Owner.String()
				}
			}
		}
		list := make([]string, 0, len(known))
		for r, text := range known {
			list = append(list, described(string(r), text))
		}
		slices.Sort(list)
		return list
	})
}

// completeSelectors completes the values of the flags that choose tokens.
func (a *app) completeSelectors(c *cobra.Command) {
	for flag, f := range map[string]completer{
		"kind":       cobra.FixedCompletions([]string{"user", "service", "refresh"}, cobra.ShellCompDirectiveNoFileComp),
		"status":     cobra.FixedCompletions([]string{"active", "suspended", "expired", "revoked"}, cobra.ShellCompDirectiveNoFileComp),
		"owner":      a.completeOwners,
		"connection": a.completeConnections,
		"service":    a.completeServices,
		"role":       a.completeRoles,
	} {
		c.RegisterFlagCompletionFunc(flag, f)
	}
}

// completeRealms offers the realms of the directories.
func (a *app) completeRealms(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if err := a.settings.load(); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []string
	for _, d := range a.settings.directories {
		list = append(list, described(d.Name, d.Kind))
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeContexts offers the contexts that this machine knows.
func (a *app) completeContexts(_ *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	w, err := a.wallet()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	known, _, _ := w.Contexts() // completion never fails
	var list []string
	for _, c := range known {
		if strings.HasPrefix(c.Name, toComplete) {
			list = append(list, described(c.Name, c.Server+c.Store))
		}
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeFlags completes the values of the global flags.
func (a *app) completeFlags(root *cobra.Command) {
	root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "wide", "json", "jsonl", "yaml", "csv", "name", "raw", "template="}, cobra.ShellCompDirectiveNoFileComp))
	root.RegisterFlagCompletionFunc("context", func(c *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		return a.completeContexts(c, nil, toComplete)
	})
	root.RegisterFlagCompletionFunc("color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
}
