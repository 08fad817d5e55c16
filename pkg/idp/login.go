package idp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Client logs people in at a provider. It is a public client, that has no secret
// (RFC 8252 §8.5), and wants one thing: an access token for the audience, a JWT
// that [Set.Judge] accepts where tokens are kept. An ID token is checked if
// there is one, and is never presented: it says that somebody logged in to this
// client, not that the client may speak for him elsewhere.
type Client struct {
	Issuer   string
	ClientID string
	Audience string   // one of the provider's Audiences
	Scopes   []string // nil: openid
	Options  Options
}

// loginFor is how long somebody has to log in, unless the provider gives less.
const loginFor = 15 * time.Minute

// session is one log-in under way.
type session struct {
	Client
	metadata Metadata
	oauth    oauth2.Config
	keys     *keySet
	fetch    *fetcher
}

// begin asks the provider where to go.
func (c Client) begin(ctx context.Context) (*session, error) {
	if c.ClientID == "" || c.Audience == "" {
		return nil, token.Errorf(token.ErrUsage, "the provider %s has no client id for log-in", c.Issuer).
			WithHint("tokenctl admin idp set NAME --client-id ID, for a public client that the provider knows")
	}
	if c.Options.Now == nil {
		c.Options.Now = time.Now
	}
	if c.Scopes == nil {
		c.Scopes = []string{oidc.ScopeOpenID}
	}
	s := &session{Client: c, fetch: newFetcher(c.Options)}
	var err error
	if s.metadata, err = s.fetch.discover(ctx, c.Issuer); err != nil {
		return nil, fmt.Errorf("log-in is not possible: %w", err)
	}
	p := token.Provider{Issuer: c.Issuer, JWKSURL: s.metadata.JWKSURL}
	for _, name := range s.metadata.Algorithms {
		if a, err := token.ParseProviderAlgorithm(name); err == nil {
			p.Algorithms = append(p.Algorithms, a)
		}
	}
	if s.keys, err = newKeySet(p, s.fetch, c.Options.Now); err != nil {
		return nil, err
	}
	s.oauth = oauth2.Config{ClientID: c.ClientID, Scopes: c.Scopes, Endpoint: oauth2.Endpoint{
		AuthURL: s.metadata.AuthorizationURL, TokenURL: s.metadata.TokenURL, DeviceAuthURL: s.metadata.DeviceURL,
		AuthStyle: oauth2.AuthStyleInParams,
	}}
	return s, nil
}

// context has x/oauth2 keep to our limits.
func (s *session) context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, s.fetch.client)
}

// audienceOptions ask for an access token that is for us: as RFC 8707 §2 has it,
// and as providers want it that are older. Whoever knows one of them passes over
// the other (RFC 6749 §3.1).
func (s *session) audienceOptions() []oauth2.AuthCodeOption {
	options := []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("audience", s.Audience)}
	if u, err := url.Parse(s.Audience); err == nil && u.IsAbs() && u.Fragment == "" {
		options = append(options, oauth2.SetAuthURLParam("resource", s.Audience))
	}
	return options
}

// accept checks what the provider gave and returns the access token. The nonce is
// empty in a log-in that has none.
func (s *session) accept(ctx context.Context, t *oauth2.Token, nonce string) (secret.Secret, error) {
	if err := s.checkIDToken(ctx, t, nonce); err != nil {
		return secret.Secret{}, err
	}
	if err := s.checkAccessToken(t); err != nil {
		return secret.Secret{}, err
	}
	return secret.FromText(t.AccessToken), nil
}

// checkIDToken checks that the answer is of this log-in: OpenID Connect Core
// §3.1.3.7, with go-oidc's rules and our keys.
func (s *session) checkIDToken(ctx context.Context, t *oauth2.Token, nonce string) error {
	raw, _ := t.Extra("id_token").(string)
	if raw == "" {
		if slices.Contains(s.Scopes, oidc.ScopeOpenID) {
			return refused("the provider gave no ID token, though it was asked for openid")
		}
		return nil
	}
	if _, err := s.keys.VerifySignature(ctx, raw); err != nil {
		return err // of its kind, which go-oidc would drop
	}
	names := make([]string, len(s.keys.algorithms))
	for i, a := range s.keys.algorithms {
		names[i] = string(a)
	}
	config := &oidc.Config{ClientID: s.ClientID, SupportedSigningAlgs: names, Now: s.Options.Now}
	id, err := oidc.NewVerifier(s.Issuer, s.keys, config).Verify(ctx, raw)
	if err != nil {
		return refused("the provider's ID token is not accepted: %w", err)
	}
	if nonce != "" && id.Nonce != nonce {
		return refused("the provider's ID token is of another log-in (nonce)")
	}
	if id.AccessTokenHash != "" && id.VerifyAccessToken(t.AccessToken) != nil {
		return refused("the provider's ID token is of another access token (at_hash)")
	}
	return nil
}

// checkAccessToken says here what [Set.Judge] would say later, as far as it can
// be told without the clock of the server: whoever set up the provider should
// learn what is missing there.
func (s *session) checkAccessToken(t *oauth2.Token) error {
	hint := fmt.Sprintf("have the provider know %s as an API whose access tokens are JWTs, and that the client %s may ask for it", s.Audience, s.ClientID)
	if !strings.EqualFold(t.Type(), "Bearer") {
		return refused("the provider's access token is of the type %.50q, not Bearer", t.Type())
	}
	j, err := parse(t.AccessToken)
	if err != nil {
		return refused("the provider's access token is no JWT").WithHint("%s", hint)
	}
	p := &provider{Provider: token.Provider{Issuer: s.Issuer, Audiences: []string{s.Audience}}}
	in := inspection{jwt: j, provider: p}
	if iss := j.claims.issuer(); iss != s.Issuer {
		return refused("the provider's access token is of another issuer, %.200q", iss)
	}
	for _, check := range []func(context.Context) error{in.audience, in.kind} {
		var e *token.Error
		if err := check(context.Background()); errors.As(err, &e) {
			return refused("the provider's access token is none for us: %s", e.Message).WithHint("%s", hint)
		}
	}
	return nil
}

// Errors of RFC 6749 §4.1.2.1 and §5.2, and of RFC 8628 §3.5.
const (
	accessDenied = "access_denied"
	expiredToken = "expired_token"
)

// said is an error that a provider answered with.
func said(code, description string) *token.Error {
	switch code {
	case accessDenied:
		return refused("at the provider the log-in was refused")
	case expiredToken:
		return refused("nobody confirmed the log-in in time").WithHint("start it again")
	}
	if description != "" {
		return refused("the provider refuses the log-in: %.50q, %.200q", code, description)
	}
	return refused("the provider refuses the log-in: %.50q", code)
}

// explain makes an error of x/oauth2 one of ours. What it has of an answer that
// nobody understood stays behind: there may be a token in it.
func (s *session) explain(ctx context.Context, err error) error {
	var answer *oauth2.RetrieveError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &answer) && answer.ErrorCode != "":
		return said(answer.ErrorCode, answer.ErrorDescription)
	case errors.As(err, &answer):
		return token.Errorf(token.ErrCannotTell, "the provider %s answers %.100s", s.Issuer, answer.Response.Status)
	case ctx.Err() != nil:
		return token.Errorf(token.ErrCannotTell, "the log-in was given up: %w", context.Cause(ctx))
	}
	var unreachable *url.Error
	if errors.As(err, &unreachable) {
		return token.Errorf(token.ErrCannotTell, "the provider %s cannot be reached: %w", s.Issuer, unreachable.Err)
	}
	return token.Errorf(token.ErrCannotTell, "the answer of the provider %s cannot be understood", s.Issuer)
}
