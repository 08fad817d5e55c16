package cmd

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

type loginOptions struct {
	in       secretInput
	provider providerLogin
	user     string
	rotate   bool
}

func newLoginCommand(a *app) *cobra.Command {
	var o loginOptions
	c := &cobra.Command{
		Use:   "login [-]",
		Short: "Log in to a server",
		Long: `Log in to a server with your own name and password, once: a user token is made
there that stands in for them from then on, and is kept for the context. The
password is kept nowhere. A name without a realm is of the realm local; that of
a directory is realm/name.

With --idp you log in at an identity provider that the server knows: with the
browser of this machine where there is one in front of you, else by a code that
you type in on another device. What the provider gives makes the user token, and
is kept nowhere. Where you log in, and for what, is said first: the server names
both.

Without a context for the server one is added, named after its host.`,
		Example: `  tokenctl login --server https://tokens.example.org --user corp/alice
  tokenctl login --context prod --user alice --password-file password.txt
  tokenctl login --server https://tokens.example.org --idp corp`,
		Args: wantsStdin,
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.check(args); err != nil {
				return err
			}
			return runLogin(c.Context(), a, &o)
		},
	}
	o.in.bind(c, "password", "password")
	o.provider.bind(a, c)
	c.Flags().StringVar(&o.user, "user", "", "your name: NAME or REALM/NAME")
	c.Flags().BoolVar(&o.rotate, "rotate", false, "give your user token a new secret if you have one already: the old one ends")
	return c
}

func runLogin(ctx context.Context, a *app, o *loginOptions) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if t.server == "" {
		return token.Errorf(token.ErrUsage, "no server is named").WithHint("--server https://tokens.example.org, or a context of one")
	}
	proof, err := o.prove(ctx, a, t)
	if err != nil {
		return err
	}
	s, end, err := a.openServerWith(t, func(context.Context) (secret.Secret, error) { return proof, nil })
	if err != nil {
		return err
	}
	defer end()
	if o.provider.name != "" {
		if err := o.provider.accepted(ctx, s, t); err != nil {
			return err
		}
	}
	issued, err := o.token(ctx, s)
	if err != nil {
		return err
	}
	name, err := a.keepLogin(ctx, t, secret.FromText(issued.Token.ID.String()+":"+issued.Secret.Reveal()))
	if err != nil {
		// Nobody is left with a live token that nobody has.
		if back := s.TakeBack(context.WithoutCancel(ctx), issued.Token.Ref()); back != nil {
			return token.Errorf(token.ErrCannotTell, "%w; and token %s could not be taken back: %w", err, issued.Token.ID, back)
		}
		return err
	}
	a.say("logged in to %s as %s, with token %s", t.server, issued.Token.Owner, issued.Token.ID)
	a.say("the context is %s", name)
	return nil
}

// prove gets what says to the server who it is, once.
func (o *loginOptions) prove(ctx context.Context, a *app, t target) (secret.Secret, error) {
	if o.provider.name != "" {
		return o.provider.login(ctx, a, t)
	}
	if err := o.ask(a); err != nil {
		return secret.Secret{}, err
	}
	password, err := o.in.read(ctx, a)
	return secret.FromText(o.user + ":" + password.Reveal()), err
}

// ask asks for the name that no flag has.
func (o *loginOptions) ask(a *app) error {
	if o.user == "" {
		if !a.interactive() {
			return token.Errorf(token.ErrUsage, "--user is missing")
		}
		tty, err := terminal.Open()
		if err != nil {
			return token.Errorf(token.ErrUsage, "--user is missing, and %w", err)
		}
		defer tty.Close()
		if o.user, err = tty.Ask("user: "); err != nil {
			return err
		}
	}
	if strings.ContainsAny(o.user, ":") {
		return token.Errorf(token.ErrUsage, "the name %q holds a colon, which Basic authentication cannot send", o.user)
	}
	_, err := token.ParseOwner(o.user)
	return err
}

// token makes the user token that stands in for what was proved.
func (o *loginOptions) token(ctx context.Context, s authority.Service) (authority.Issued, error) {
	issued, err := s.Generate(ctx, token.Spec{Kind: token.User})
	if !errors.Is(err, token.ErrConflict) {
		return issued, err
	}
	if !o.rotate {
		var told *token.Error
		errors.As(err, &told)
		return issued, told.WithHint("--rotate gives it a new secret, and ends the old one")
	}
	me, err := s.WhoAmI(ctx)
	if err != nil {
		return issued, err
	}
	for t, err := range s.List(ctx, token.Selector{Kind: token.User, Owner: me.Owner}) {
		if err != nil {
			return issued, err
		}
		return s.Rotate(ctx, t.Ref(), authority.Rotation{})
	}
	return issued, token.Errorf(token.ErrConflict, "the user token was there and is gone").WithHint("try again")
}

// keepLogin stores a credential for the context of a server, and returns the
// context's name.
func (a *app) keepLogin(ctx context.Context, t target, login secret.Secret) (string, error) {
	w, err := a.wallet()
	if err != nil {
		return "", err
	}
	if t.context != nil {
		return t.context.Name, w.SetCredential(ctx, t.context.Name, login)
	}
	u, err := url.Parse(t.server)
	if err != nil {
		return "", err
	}
	c := wallet.Context{Name: u.Hostname(), Server: t.server, CAFile: a.settings.CAFile(), PlainHTTP: a.settings.PlainHTTP()}
	if err := token.CheckName("context", c.Name); err != nil {
		c.Name = "server" // an IPv6 address, or a very long name
	}
	if old, err := w.Context(c.Name); err == nil && old.Server != c.Server {
		return "", token.Errorf(token.ErrConflict, "there is a context %q already, for another server", c.Name).
			WithHint("add one under another name: tokenctl context add NAME --server %s, then tokenctl login --context NAME", c.Server)
	}
	_, err = w.Replace(ctx, c, login)
	return c.Name, err
}

func newLogoutCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: "Log out of a server",
		Long: `Log out of the server of a context: the token that "tokenctl login" has made is
deleted there, and forgotten here. The context stays.`,
		Example: `  tokenctl logout --context prod`,
		Args:    noArguments,
		RunE:    func(c *cobra.Command, _ []string) error { return runLogout(c.Context(), a) },
	}
}

func runLogout(ctx context.Context, a *app) error {
	t, err := a.target()
	if err != nil {
		return err
	}
	if t.context == nil || t.context.Login == "" {
		return token.Errorf(token.ErrNotFound, "nobody is logged in there").WithHint("--context names a context; tokenctl context list shows them")
	}
	w, err := a.wallet()
	if err != nil {
		return err
	}
	login, err := w.Credential(ctx, *t.context)
	if err != nil {
		return err
	}
	code, _, pair := strings.Cut(login.Reveal(), ":")
	if id, err := token.ParseID(code); pair && err == nil {
		s, end, err := a.openServerWith(t, func(context.Context) (secret.Secret, error) { return login, nil })
		if err != nil {
			return err
		}
		defer end()
		switch err := s.Delete(ctx, []token.Ref{{ID: id}}); {
		case err == nil:
			a.say("token %s is deleted", id)
		case errors.Is(err, token.ErrNotFound):
			a.say("token %s is gone already", id)
		case errors.Is(err, token.ErrRefused):
			// It has ended, or only sleeps: resumed, or of an account enabled again,
			// it would be accepted.
			a.say("token %s could not be deleted, and is not accepted now", id)
		default:
			return err
		}
	}
	if err := w.SetCredential(ctx, t.context.Name, secret.Secret{}); err != nil {
		return err
	}
	a.say("logged out of %s", t.server)
	return nil
}
