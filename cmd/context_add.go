package cmd

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

func newContextAddCommand(a *app) *cobra.Command {
	var caFile string
	var replace bool
	var in secretInput
	c := &cobra.Command{
		Use:   "add NAME --server URL|--store URL [-]",
		Short: "Add a context",
		Long: `Add a context for a server or a store. The first one that is added becomes the
current one. With - the credential for the server is read from standard input,
or typed unseen: code:passcode, or an access token of the connection tokenctl.
Without one, TOKENCTL_TOKEN has to have it. Nothing is asked of the server.`,
		Example: `  tokenctl generate | tokenctl context add prod --server https://tokens.example.org -
  tokenctl context add lab --server https://10.0.0.7:8470 --ca-file lab.pem --credential-file token.txt
  tokenctl context add files --store bolt:///srv/tokens/tokens.db`,
		Args: nameAndStdin,
		RunE: func(c *cobra.Command, args []string) error {
			added := wallet.Context{Name: args[0], CAFile: caFile}
			// What the environment says is about this call, not about the context.
			added.Server, _ = c.Flags().GetString("server")
			added.Store, _ = c.Flags().GetString("store")
			added.PlainHTTP, _ = c.Flags().GetBool("insecure-plain-http")
			login, err := in.forContext(c.Context(), a, &added, len(args) == 2)
			if err != nil {
				return err
			}
			w, err := a.wallet()
			if err != nil {
				return err
			}
			add := w.Add
			if replace {
				add = w.Replace
			}
			current, err := add(c.Context(), added, login)
			if err != nil {
				return err
			}
			a.say("added the context %s", added.Name)
			if current {
				a.say("it is the current one")
			}
			if !a.settings.FormatSet() {
				return nil
			}
			added, err = w.Context(added.Name)
			if err != nil {
				return err
			}
			return answer(c.Context(), a, contextKind(), shownContext{added, current})
		},
	}
	in.bind(c, "credential", "credential")
	c.Flags().BoolVar(&replace, "replace", false, "take the place of a context of this name, with another credential")
	c.Flags().StringVar(&caFile, "ca-file", "", "certificates that the server's must come from, PEM (default: those of the system)")
	return c
}

func nameAndStdin(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return token.Errorf(token.ErrUsage, "NAME is missing")
	}
	if err := token.CheckName("context", args[0]); err != nil {
		return err
	}
	return wantsStdin(c, args[1:])
}

// forContext checks a context that is to be added, and reads its credential if
// there is to be one.
func (in *secretInput) forContext(ctx context.Context, a *app, c *wallet.Context, stdin bool) (none secret.Secret, err error) {
	wanted := stdin || in.given()
	switch {
	case c.Server != "" && c.Store != "":
		return none, exclude("server", "store", fromFlag)
	case c.Store != "" && (wanted || c.CAFile != "" || c.PlainHTTP):
		return none, token.Errorf(token.ErrUsage, "a store takes no credential, no CA file and no http")
	case c.Store != "":
		_, err = storePath(c.Store)
		return none, err
	case c.Server == "":
		return none, token.Errorf(token.ErrUsage, "neither --server nor --store is named")
	case stdin && in.given():
		return none, token.Errorf(token.ErrUsage, "the credential comes from standard input or from what a flag names, not both")
	}
	client, err := httpapi.NewClient(httpapi.ClientOptions{URL: c.Server, Plain: c.PlainHTTP})
	if err != nil {
		return none, err
	}
	client.Close()
	if c.CAFile != "" {
		if c.CAFile, err = filepath.Abs(c.CAFile); err != nil {
			return none, token.Errorf(token.ErrUsage, "--ca-file: %w", err)
		}
		if _, err := readRoots(c.CAFile); err != nil {
			return none, err
		}
	}
	if !wanted {
		return none, nil
	}
	login, err := in.read(ctx, a)
	if err != nil {
		return none, err
	}
	return login, checkCredential("what was given", login)
}
