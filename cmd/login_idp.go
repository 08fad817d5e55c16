package cmd

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"

	"github.com/cli/browser"
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// providerLogin is a log-in at an identity provider of the server.
type providerLogin struct {
	name            string // empty: it is one by password
	browser, device bool
}

func (l *providerLogin) bind(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.name, "idp", "", "log in at this identity provider, in the place of a password")
	f.BoolVar(&l.browser, "browser", false, "with --idp: in the browser of this machine ($BROWSER, or the system's)")
	f.BoolVar(&l.device, "device", false, "with --idp: by a code for a browser elsewhere")
	c.RegisterFlagCompletionFunc("idp", a.completeLoginProviders)
}

// check refuses what goes with a password alone, and what with a provider alone.
func (o *loginOptions) check(args []string) error {
	switch l := o.provider; {
	case l.browser && l.device:
		return token.Errorf(token.ErrUsage, "--browser and --device exclude each other")
	case l.name == "" && (l.browser || l.device):
		return token.Errorf(token.ErrUsage, "--idp is missing: --browser and --device are ways to log in at an identity provider")
	case l.name != "" && (o.user != "" || o.in.given() || len(args) > 0):
		return token.Errorf(token.ErrUsage, "with --idp there is no --user and no password: the provider says who you are")
	}
	return nil
}

// login logs in at the provider, and returns the JWT that says so. It is shown
// to the server once, and is not for keeping.
func (l *providerLogin) login(ctx context.Context, a *app, t target) (secret.Secret, error) {
	p, err := l.find(ctx, a, t)
	if err != nil {
		return secret.Secret{}, err
	}
	client := idp.Client{Issuer: p.Issuer, ClientID: p.ClientID, Audience: p.Audiences[0]}
	// All of it is what the server says: one that is not to be trusted could have
	// somebody log in elsewhere, or for another's audience.
	a.complain("logging in at %s, for %s, with the client %s, to be used at %s", client.Issuer, client.Audience, client.ClientID, t.server)
	if l.browser || !l.device && a.interactive() && terminal.HasDesktop(a.env) {
		return client.BrowserLogin(ctx, func(url string) error {
			a.complain("open this page to log in: %s", url)
			go a.browse(url)
			return nil
		})
	}
	return client.DeviceLogin(ctx, func(prompt idp.Prompt) error {
		a.complain("open this page to log in: %s", cmp.Or(prompt.CompleteURL, prompt.URL))
		if prompt.CompleteURL != "" {
			a.complain("or this one, and type in the code there: %s", prompt.URL)
		}
		a.complain("the code, there and here: %s", prompt.Code)
		return nil
	})
}

// find asks the server which provider it is. Nobody has logged in yet, so it is
// asked without a credential.
func (l *providerLogin) find(ctx context.Context, a *app, t target) (p token.Provider, err error) {
	s, end, err := a.openServerWith(t, nil)
	if err != nil {
		return p, err
	}
	defer end()
	all, err := s.LoginProviders(ctx)
	if err != nil {
		return p, err
	}
	names := make([]string, len(all))
	for i, p := range all {
		if p.Name == l.name {
			return p, nil
		}
		names[i] = p.Name
	}
	none := token.Errorf(token.ErrNotFound, "%s has no identity provider %q to log in at", t.server, l.name)
	if len(names) == 0 {
		return p, none.WithHint("it has none at all; one needs a client: tokenctl admin idp set NAME --client-id ID")
	}
	return p, none.WithHint("there is %s", strings.Join(names, ", "))
}

// accepted asks the server whether it takes what the provider has given, before
// anything is made with it.
func (l *providerLogin) accepted(ctx context.Context, s authority.Service, t target) error {
	_, err := s.WhoAmI(ctx)
	if errors.Is(err, token.ErrRefused) {
		return token.Errorf(token.ErrRefused, "%s does not accept whom the identity provider %s says you are", t.server, l.name).
			WithHint("an administrator can see why: tokenctl admin idp test")
	}
	return err
}

// browse opens a page in a browser. That it cannot be done ends no log-in: the
// page can be opened by hand. What the browser says is not for here.
func (a *app) browse(url string) {
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	open := browser.OpenURL
	if own := strings.Fields(a.env("BROWSER")); len(own) > 0 {
		open = func(url string) error { return exec.Command(own[0], append(own[1:], url)...).Run() }
	}
	if err := open(url); err != nil {
		a.say("no browser could be opened: %v; with --device none is needed here", err)
	}
}

// completeLoginProviders offers the providers at which somebody can log in.
func (a *app) completeLoginProviders(c *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		all, _ := s.LoginProviders(ctx) // completion never fails
		for _, p := range all {
			if strings.HasPrefix(p.Name, toComplete) {
				list = append(list, described(p.Name, p.Issuer))
			}
		}
		return list
	})
}
