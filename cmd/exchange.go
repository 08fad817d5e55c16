package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

type exchangeOptions struct {
	handover
	in         secretInput
	client     clientInput
	subject    subjectInput
	ci         ciOutput
	roles      []string
	resource   string
	connection string
	rotated    string // the file for a new refresh token
	saved      string // the name of the one that this machine keeps; empty: it is read
}

func newExchangeCommand(a *app) *cobra.Command {
	var o exchangeOptions
	c := &cobra.Command{
		Use:   "exchange [NAME or -]",
		Short: "Get an access token for a refresh token, or for a JWT",
		Long: `Turn a refresh token, read from standard input or kept on this machine under a
name (generate refresh --save), into a short-lived access token: a signed JWT
(RFC 9068) that any service can verify with the keys of "tokenctl admin key
jwks". It bears the roles of the refresh token that its owner still has, or with
--role only some of those.

Where the connection rotates, the refresh token is used up and a new one comes
with the answer: a kept one is replaced by it, else -o json has it, or
--refresh-token-output takes it. The old one gets the same answer again for a
moment.

A subject token takes the place of a refresh token (RFC 8693): the JWT of an
identity provider that the server knows, or an access token that is to have
fewer roles. For a CI job that is its identity token, and no secret is stored
anywhere: GitHub is asked for it with the server's URL as its audience, unless
--audience names another; GitLab puts it into the variable TOKENCTL_ID_TOKEN,
if the job's YAML says so: id_tokens: {TOKENCTL_ID_TOKEN: {aud: URL}}.

Where clients have a client secret, --client-secret-file or
--client-secret-command hands it over.`,
		Example: `  printf %s "$REFRESH" | tokenctl exchange
  tokenctl exchange --refresh-token-file refresh.txt --role UserObserver -o json
  tokenctl exchange --github-actions --connection deploy --ci github
  ACCESS=$(tokenctl exchange --gitlab-ci --connection deploy)`,
		Args: func(c *cobra.Command, args []string) error {
			if err := o.subject.check(c, len(args) > 0 || o.in.given() || o.rotated != ""); err != nil {
				return err
			}
			kept := len(args) == 1 && args[0] != "-"
			switch {
			case kept && o.in.given():
				return token.Errorf(token.ErrUsage, "%q names a kept refresh token, and a flag another", args[0])
			case kept && o.rotated != "":
				return token.Errorf(token.ErrUsage, "the new one of the kept refresh token %q is kept in its place", args[0]).WithHint("leave out --refresh-token-output")
			}
			return atMostOneArgument(nil, args)
		},
		ValidArgsFunction: a.completeSaved,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 && args[0] != "-" {
				o.saved = args[0]
			}
			return runExchange(c.Context(), a, &o)
		},
	}
	o.in.bind(c, "refresh-token", "refresh token")
	o.client.bind(c)
	o.subject.bind(c)
	o.ci.bind(c)
	o.handover.bind(c, "pass")
	c.Flags().StringSliceVar(&o.roles, "role", nil, "only this role; may be repeated")
	c.Flags().StringVar(&o.rotated, "refresh-token-output", "", "write the new refresh token of a connection that rotates to this file (0600), in the place of what is there")
	c.Flags().StringVar(&o.resource, "resource", "", "the audience that is expected (RFC 8707)")
	c.Flags().StringVar(&o.connection, "connection", "", "the connection: for a subject token any that there is (default \"default\"), for a refresh token its own")
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
	c.RegisterFlagCompletionFunc("connection", a.completeConnections)
	return c
}

func runExchange(ctx context.Context, a *app, o *exchangeOptions) error {
	if err := o.handover.check(a); err != nil {
		return err
	}
	if err := o.ci.check(&o.handover); err != nil {
		return err
	}
	if err := checkReplaceable(o.rotated); err != nil {
		return err
	}
	opts, err := a.renderOptions()
	if err != nil {
		return err
	}
	if err := render.Check(opts, render.AccessTokens()); err != nil {
		return err
	}
	if err := o.ci.open(a); err != nil {
		return err
	}
	x := authority.Exchange{Resource: o.resource, ClientID: o.connection}
	if len(o.roles) > 0 {
		if x.Roles, err = token.ParseRoles(o.roles); err != nil {
			return err
		}
	}
	access, err := o.redeem(ctx, a, x)
	if err != nil {
		return err
	}
	if o.ci.system != "" {
		return o.ci.deliver(a, access)
	}
	if err := a.showAccessToken(ctx, &o.handover, access); err != nil {
		return err
	}
	a.copySecret(ctx, &o.handover, access.Text)
	return nil
}

func (o *exchangeOptions) redeem(ctx context.Context, a *app, x authority.Exchange) (access authority.AccessToken, err error) {
	if o.saved != "" {
		if x.ClientSecret, err = o.client.read(ctx, a); err != nil {
			return access, err
		}
		return a.redeemSaved(ctx, o.saved, x)
	}
	before := readRotated(o.rotated) // first: what is shown is no older than that
	in, read := &x.RefreshToken, o.in.read
	if o.subject.given() {
		in, read = &x.SubjectToken, o.subject.read
	}
	if *in, err = read(ctx, a); err != nil {
		return access, err
	}
	if x.ClientSecret, err = o.client.read(ctx, a); err != nil {
		return access, err
	}
	if err := authority.CheckForm(*in); err != nil {
		return access, err
	}
	tokens, err := a.existing(ctx)
	if err != nil {
		return access, err
	}
	if access, err = tokens.Exchange(ctx, x); err != nil {
		return access, err
	}
	return access, o.keepRotated(ctx, a, access, before, x.RefreshToken.Reveal())
}

// keepRotated sees to it that a new refresh token is not lost: for a moment the
// old one gets the same answer again.
func (o *exchangeOptions) keepRotated(ctx context.Context, a *app, access authority.AccessToken, before ...string) error {
	if access.RefreshToken.IsZero() {
		return nil
	}
	if o.rotated != "" {
		if o.ci.system != "" {
			if err := o.ci.mask(a, access.RefreshToken); err != nil {
				return err
			}
		}
		late, err := replaceRotated(context.WithoutCancel(ctx), o.rotated, access.RefreshToken.Reveal(), before)
		if err != nil {
			return fmt.Errorf("%w; within the connection's retry window the same refresh token gets the same answer again", err)
		}
		if late {
			a.say("another process has changed %s meanwhile: what it wrote stays", o.rotated)
		}
		return nil
	}
	f, err := a.settings.Format()
	if err == nil && o.ci.system == "" && (f == render.JSON || f == render.JSONL || f == render.YAML) && a.settings.JQ() == "" {
		return nil
	}
	a.complain("warning: the refresh token was rotated, and nothing but -o json or --refresh-token-output FILE is sure to have the new one; within the connection's retry window the same again gives it")
	return err
}

// readRotated is the refresh token that is in a file; empty: there is none that
// can be read.
func readRotated(path string) string {
	if path == "" {
		return ""
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// replaceRotated puts a new refresh token in the place of one of those that were
// there before. If another process was quicker, what it wrote is no older, and
// stays.
func replaceRotated(ctx context.Context, path, fresh string, before []string) (late bool, err error) {
	unlock := lockFolder(ctx, filepath.Dir(path))
	defer unlock()
	switch now := readRotated(path); {
	case now == fresh:
		return false, nil
	case now != "" && !slices.Contains(before, now):
		return true, nil
	}
	return false, written(privatefile.Replace(path, []byte(fresh+"\n")))
}
