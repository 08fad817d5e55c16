package cmd

import (
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// accessVariable is where the command that exec runs finds its access token.
const accessVariable = "TOKENCTL_ACCESS_TOKEN"

func newExecCommand(a *app) *cobra.Command {
	var roles []string
	var resource string
	var client clientInput
	c := &cobra.Command{
		Use:   "exec NAME -- COMMAND…",
		Short: "Run a command with a fresh access token",
		Long: `Exchange a refresh token that "tokenctl generate refresh NAME --save" has kept
on this machine, and run a command with the access token in the environment, as
TOKENCTL_ACCESS_TOKEN. TOKENCTL_TOKEN and TOKENCTL_ID_TOKEN are taken out of it.
Everything else stays, also what a CI system has put there for its jobs, such as
ACTIONS_ID_TOKEN_REQUEST_TOKEN. The command takes the place of this process: its
exit code is the answer.`,
		Example: `  tokenctl exec ci-deploy -- sh -c 'curl -H "Authorization: Bearer $TOKENCTL_ACCESS_TOKEN" https://api.example.org/'`,
		Args: func(c *cobra.Command, args []string) error {
			if at := c.ArgsLenAtDash(); at != 1 || len(args) < 2 {
				return token.Errorf(token.ErrUsage, "exec takes a name, two dashes and a command").WithHint("tokenctl exec ci-deploy -- make deploy")
			}
			return nil
		},
		ValidArgsFunction: a.completeSaved,
		RunE: func(c *cobra.Command, args []string) error {
			x := authority.Exchange{Resource: resource}
			var err error
			if len(roles) > 0 {
				if x.Roles, err = token.ParseRoles(roles); err != nil {
					return err
				}
			}
			path, err := exec.LookPath(args[1])
			if err != nil {
				return token.Errorf(token.ErrUsage, "the command %q cannot be run: %w", args[1], err)
			}
			if x.ClientSecret, err = client.read(c.Context(), a); err != nil {
				return err
			}
			access, err := a.redeemSaved(c.Context(), args[0], x)
			if err != nil {
				return err
			}
			a.close()
			return become(path, args[1:], withAccessToken(os.Environ(), access.Text))
		},
	}
	client.bind(c)
	c.Flags().StringSliceVar(&roles, "role", nil, "only this role; may be repeated")
	c.Flags().StringVar(&resource, "resource", "", "the audience that is expected (RFC 8707)")
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
	return c
}

// withAccessToken is an environment with the access token, and without what
// another could be had for. The credential for a server (tokenVariable) is out of
// ours since the start.
func withAccessToken(environ []string, access secret.Secret) []string {
	env := []string{accessVariable + "=" + access.Reveal()}
	for _, pair := range environ {
		if name, _, _ := strings.Cut(pair, "="); name != accessVariable && name != gitlabToken {
			env = append(env, pair)
		}
	}
	return env
}
