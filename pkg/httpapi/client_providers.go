package httpapi

import (
	"context"
	"iter"
	"net/http"
	"net/url"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func providerPath(name string) string { return apiPath + "/providers/" + escapeSegment(name) }

func errNoProvider(name string) error {
	return token.Errorf(token.ErrNotFound, "there is no identity provider %q", name)
}

// provider asks for what a provider is answered with.
func (c *Client) provider(ctx context.Context, q call) (p token.Provider, err error) {
	var w wireProvider
	q.into = &w
	q.whole = func() bool {
		p, err = w.provider()
		return err == nil && w.whole()
	}
	if err := c.do(ctx, q); err != nil {
		return token.Provider{}, err
	}
	return p, nil
}

// AddProvider implements [authority.Providers].
func (c *Client) AddProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	return c.provider(ctx, call{
		method: "POST", path: apiPath + "/providers", body: toWireProvider(p), changes: true, once: true, want: http.StatusCreated,
	})
}

// Provider implements [authority.Providers].
func (c *Client) Provider(ctx context.Context, name string) (token.Provider, error) {
	if name == "" { // which no path can say
		return token.Provider{}, errNoProvider(name)
	}
	return c.provider(ctx, call{method: "GET", path: providerPath(name)})
}

// ListProviders implements [authority.Providers].
func (c *Client) ListProviders(ctx context.Context) iter.Seq2[token.Provider, error] {
	return pages(ctx, c, "/providers", "providers", url.Values{}, func(w *wireProvider) (token.Provider, error) {
		if !w.whole() {
			return token.Provider{}, errNotWhole
		}
		return w.provider()
	})
}

// SetProvider implements [authority.Providers].
func (c *Client) SetProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	if err := token.CheckName("provider", p.Name); err != nil {
		return token.Provider{}, err
	}
	return c.provider(ctx, call{method: "PUT", path: providerPath(p.Name), body: toWireProvider(p), changes: true})
}

// DeleteProvider implements [authority.Providers].
func (c *Client) DeleteProvider(ctx context.Context, name string) error {
	if name == "" {
		return errNoProvider(name)
	}
	return c.do(ctx, call{method: "DELETE", path: providerPath(name), changes: true, want: http.StatusNoContent})
}

// LoginProviders implements [authority.Providers].
func (c *Client) LoginProviders(ctx context.Context) ([]token.Provider, error) {
	var w wireLoginProviders
	err := c.do(ctx, call{
		method: "GET", path: apiPath + "/login-providers", public: true, into: &w, whole: func() bool { return w.Providers != nil },
	})
	if err != nil {
		return nil, err
	}
	all := make([]token.Provider, len(w.Providers))
	for i, p := range w.Providers {
		all[i] = token.Provider{Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Audiences: []string{p.Audience}}
	}
	return all, nil
}

// ExplainJWT implements [authority.Providers].
func (c *Client) ExplainJWT(ctx context.Context, jwt secret.Secret) (authority.JWTExplanation, error) {
	var w wireJWTExplanation
	err := c.do(ctx, call{
		method: "POST", path: apiPath + "/providers:explain", body: wireCredential{jwt.Reveal()}, into: &w, whole: w.whole,
	})
	if err != nil {
		return authority.JWTExplanation{}, err
	}
	return w.explanation(), nil
}

// LinkIdentity implements [authority.Accounts].
func (c *Client) LinkIdentity(ctx context.Context, o token.Owner, provider, subject string) (token.Account, error) {
	return c.changeLink(ctx, "/accounts:link", wireLink{o, provider, subject})
}

// UnlinkIdentity implements [authority.Accounts].
func (c *Client) UnlinkIdentity(ctx context.Context, o token.Owner, provider, subject string) (token.Account, error) {
	return c.changeLink(ctx, "/accounts:unlink", wireLink{o, provider, subject})
}

func (c *Client) changeLink(ctx context.Context, path string, link wireLink) (token.Account, error) {
	var w wireAccount
	err := c.do(ctx, call{method: "POST", path: apiPath + path, body: link, changes: true, into: &w, whole: w.whole})
	return c.account(&w, err)
}
