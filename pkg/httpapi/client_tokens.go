package httpapi

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Verify implements [authority.Verifier]. Why a credential is refused is not
// said over the wire.
func (c *Client) Verify(ctx context.Context, p authority.Presented) (token.Identity, error) {
	body := wirePresented{
		Credential: p.Credential.Reveal(), User: p.User, Service: p.Service, Connection: p.Connection, Role: p.Role, CountsAsUse: p.CountsAsUse,
	}
	for _, k := range p.Kinds {
		body.Kinds = append(body.Kinds, kindName(k))
	}
	var v wireVerdict
	err := c.do(ctx, call{method: "POST", path: apiPath + "/tokens:verify", body: body, from: p.From, public: true, into: &v, whole: v.whole})
	if err != nil {
		return token.Identity{}, cannotTell(err)
	}
	if !*v.Valid {
		return token.Identity{}, &authority.Refusal{}
	}
	return v.identity(), nil
}

// cannotTell: a question about a credential has three outcomes, and a server
// that could not be asked, or did not take the question, is the third.
func cannotTell(err error) error {
	if errors.Is(err, token.ErrCannotTell) || errors.Is(err, token.ErrUsage) {
		return err
	}
	return token.Errorf(token.ErrCannotTell, "%v", err)
}

// Generate implements [authority.Tokens].
func (c *Client) Generate(ctx context.Context, spec token.Spec) (authority.Issued, error) {
	if err := spec.Check(); err != nil {
		return authority.Issued{}, err
	}
	var i wireIssued
	err := c.do(ctx, call{
		method: "POST", path: apiPath + "/tokens", body: toWireSpec(spec),
		changes: true, once: true, want: http.StatusCreated, into: &i, whole: i.whole,
	})
	if err != nil {
		return authority.Issued{}, err
	}
	return i.issued(), nil
}

func tokenPath(id token.ID, verb string) string { return apiPath + "/tokens/" + id.String() + verb }

// Get implements [authority.Tokens].
func (c *Client) Get(ctx context.Context, id token.ID) (token.Token, error) {
	var t wireToken
	if err := c.do(ctx, call{method: "GET", path: tokenPath(id, ""), into: &t, whole: t.whole}); err != nil {
		return token.Token{}, err
	}
	return t.token(), nil
}

// List implements [authority.Tokens].
func (c *Client) List(ctx context.Context, s token.Selector) iter.Seq2[token.Token, error] {
	return pages(ctx, c, "/tokens", "tokens", writeSelector(s), func(w *wireToken) (token.Token, error) {
		if !w.whole() {
			return token.Token{}, errNotWhole
		}
		return w.token(), nil
	})
}

// Rotate implements [authority.Tokens].
func (c *Client) Rotate(ctx context.Context, ref token.Ref, r authority.Rotation) (authority.Issued, error) {
	var i wireIssued
	err := c.do(ctx, call{
		method: "POST", path: tokenPath(ref.ID, "/rotate"), body: wireRotation{wireRevision{ref.Revision}, wireDuration(r.Grace), r.UntilUsed},
		changes: true, once: true, into: &i, whole: i.whole,
	})
	if err != nil {
		return authority.Issued{}, err
	}
	return i.issued(), nil
}

// TakeBack implements [authority.Tokens].
func (c *Client) TakeBack(ctx context.Context, ref token.Ref) error {
	return c.change(ctx, tokenPath(ref.ID, "/take-back"), wireRevision{ref.Revision})
}

// change asks for a change that has no answer but that it was made.
func (c *Client) change(ctx context.Context, path string, body any) error {
	return c.do(ctx, call{method: "POST", path: path, body: body, changes: true, want: http.StatusNoContent})
}

// manyRefs is how many references go into one body of 64 KiB.
const manyRefs = 1000

// each asks for a change of many tokens: all or none, unless there are more
// than one request takes.
func (c *Client) each(ctx context.Context, path string, refs []token.Ref, body func([]wireRef) any) error {
	total := len(refs)
	for len(refs) > 0 {
		now := refs[:min(manyRefs, len(refs))]
		err := c.change(ctx, apiPath+path, body(toWireRefs(now)))
		if done := total - len(refs); err != nil && done > 0 {
			return token.Errorf(err, "%d of %d tokens were changed, then: %w", done, total, err).WithHint("the same command again goes on with the others")
		}
		if err != nil {
			return err
		}
		refs = refs[len(now):]
	}
	return nil
}

// Revoke implements [authority.Tokens].
func (c *Client) Revoke(ctx context.Context, refs []token.Ref, reason string) error {
	return c.each(ctx, "/tokens:revoke", refs, func(r []wireRef) any { return wireRevoke{Tokens: r, Reason: reason} })
}

// RevokeSecret implements [authority.Tokens].
func (c *Client) RevokeSecret(ctx context.Context, s secret.Secret, reason string) (token.Token, error) {
	if err := authority.CheckForm(s); err != nil {
		return token.Token{}, err
	}
	var t wireToken
	err := c.do(ctx, call{
		method: "POST", path: apiPath + "/tokens:revoke", body: wireRevoke{Secret: s.Reveal(), Reason: reason},
		changes: true, into: &t, whole: t.whole,
	})
	if err != nil {
		return token.Token{}, err
	}
	return t.token(), nil
}

// Suspend implements [authority.Tokens].
func (c *Client) Suspend(ctx context.Context, refs []token.Ref, until time.Time) error {
	return c.each(ctx, "/tokens:suspend", refs, func(r []wireRef) any { return wireRefs{Tokens: r, Until: some(until)} })
}

// Resume implements [authority.Tokens].
func (c *Client) Resume(ctx context.Context, refs []token.Ref) error {
	return c.each(ctx, "/tokens:resume", refs, func(r []wireRef) any { return onlyRefs{r} })
}

// Delete implements [authority.Tokens].
func (c *Client) Delete(ctx context.Context, refs []token.Ref) error {
	if len(refs) == 1 {
		q := url.Values{}
		if refs[0].Revision != 0 {
			q.Set("revision", strconv.FormatUint(refs[0].Revision, 10))
		}
		return c.do(ctx, call{method: "DELETE", path: tokenPath(refs[0].ID, ""), query: q, changes: true, want: http.StatusNoContent})
	}
	return c.each(ctx, "/tokens:delete", refs, func(r []wireRef) any { return onlyRefs{r} })
}

// Exchange implements [authority.Tokens].
func (c *Client) Exchange(ctx context.Context, x authority.Exchange) (authority.AccessToken, error) {
	var a wireAccess
	// Where the connection rotates, the same refresh token gets the same answer
	// again for a while.
	err := c.do(ctx, call{
		method: "POST", path: apiPath + "/tokens:exchange", from: x.From, public: true, harmless: true, into: &a, whole: a.whole,
		body: wireExchange{RefreshToken: x.RefreshToken.Reveal(), SubjectToken: x.SubjectToken.Reveal(), Roles: x.Roles, Resource: x.Resource, ClientID: x.ClientID, ClientSecret: x.ClientSecret.Reveal()},
	})
	if err != nil {
		return authority.AccessToken{}, err
	}
	return a.access(), nil
}

// Explain implements [authority.Tokens].
func (c *Client) Explain(ctx context.Context, s secret.Secret) (authority.Explanation, error) {
	var e wireExplanation
	err := c.do(ctx, call{method: "POST", path: apiPath + "/tokens:explain", body: wireCredential{s.Reveal()}, into: &e, whole: e.whole})
	if err != nil {
		return authority.Explanation{}, err
	}
	return e.explanation(), nil
}
