package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminPolicyCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "policy",
		Short: "Lifetimes, maxima and who may have what",
		Long: `The policy applies to what is made from now on: it never kills or revives
tokens that are there already.`,
		Example: `  tokenctl admin policy show
  tokenctl admin policy set user_token_lifetime 90d refresh_tokens everyone`,
	}
	asGroup(c)
	c.AddCommand(newAdminPolicyShowCommand(a), newAdminPolicySetCommand(a))
	return c
}

func newAdminPolicyShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the policy",
		Long:    `Show the policy, one setting a line.`,
		Example: `  tokenctl admin policy show --jq .refresh_tokens`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			p, err := s.Policy(c.Context())
			if err != nil {
				return err
			}
			return answerPolicy(c.Context(), a, p)
		},
	}
}

func answerPolicy(ctx context.Context, a *app, p token.Policy) error {
	o, err := a.renderOptions()
	if err != nil {
		return err
	}
	return render.Policy(ctx, a.stdout, o, p)
}

func newAdminPolicySetCommand(a *app) *cobra.Command {
	var names []string
	for _, f := range token.PolicyFields() {
		names = append(names, f.Name+"\t"+f.Doc)
	}
	c := &cobra.Command{
		Use:   "set NAME VALUE [NAME VALUE…]",
		Short: "Change settings of the policy",
		Long: `Change settings of the policy, all that are named or none. NAME=VALUE works
too. The settings:

  ` + strings.ReplaceAll(strings.Join(names, "\n  "), "\t", ": "),
		Example: `  tokenctl admin policy set user_token_lifetime 90d
  tokenctl admin policy set issuer=https://tokens.example.org`,
		RunE: func(c *cobra.Command, args []string) error {
			settings, err := pairs(args)
			if err != nil {
				return err
			}
			s, err := a.growing(c.Context())
			if err != nil {
				return err
			}
			p, err := s.SetPolicy(c.Context(), settings)
			if err != nil {
				return err
			}
			a.say("changed the policy")
			if !a.settings.FormatSet() {
				return nil
			}
			return answerPolicy(c.Context(), a, p)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args)%2 == 1 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	}
	return c
}

// pairs reads NAME VALUE and NAME=VALUE.
func pairs(args []string) (map[string]string, error) {
	settings := map[string]string{}
	for len(args) > 0 {
		name, value, joined := strings.Cut(args[0], "=")
		args = args[1:]
		if !joined {
			if len(args) == 0 {
				return nil, token.Errorf(token.ErrUsage, "the value of %q is missing", name)
			}
			value, args = args[0], args[1:]
		}
		if _, twice := settings[name]; twice {
			return nil, token.Errorf(token.ErrUsage, "%q is set twice", name)
		}
		settings[name] = value
	}
	if len(settings) == 0 {
		return nil, token.Errorf(token.ErrUsage, "no setting is named").WithHint("tokenctl admin policy show lists them")
	}
	return settings, nil
}
