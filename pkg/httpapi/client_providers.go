package httpapi

import (
	"context"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// AddProvider implements [authority.Providers].
func (c *Client) AddProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	return providers.askAdd(ctx, c, p)
}

// Provider implements [authority.Providers].
func (c *Client) Provider(ctx context.Context, name string) (token.Provider, error) {
	return providers.askGet(ctx, c, name)
}

// ListProviders implements [authority.Providers].
func (c *Client) ListProviders(ctx context.Context) iter.Seq2[token.Provider, error] {
	return providers.askList(ctx, c, nil)
}

// SetProvider implements [authority.Providers].
func (c *Client) SetProvider(ctx context.Context, p token.Provider) (token.Provider, error) {
	return providers.askSet(ctx, c, p)
}

// DeleteProvider implements [authority.Providers].
func (c *Client) DeleteProvider(ctx context.Context, name string) error {
	return providers.askDelete(ctx, c, name)
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
	return accounts.ask(ctx, c, call{method: "POST", path: apiPath + path, body: link, changes: true})
}
