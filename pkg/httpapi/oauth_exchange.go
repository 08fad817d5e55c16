package httpapi

import (
	"errors"
	"net/url"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The grant types of the token endpoint (RFC 6749 §6, RFC 8693 §2.1).
const (
	grantRefresh  = "refresh_token"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
)

// The types of token in an exchange (RFC 8693 §3).
const (
	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
)

// subjectTypes are what a subject token may be called. CI systems call what they
// give a job to prove itself with an ID token; whether it is one that is good for
// nothing but a log-in, its provider's rules say and not its name.
var subjectTypes = []string{typeAccessToken, typeJWT, typeIDToken}

// subjectExchange reads a request for a token exchange (RFC 8693 §2.1).
func subjectExchange(form url.Values) (x authority.Exchange, err error) {
	switch {
	case form.Get("subject_token") == "":
		return x, invalidRequest("subject_token is missing")
	case form.Get("subject_token_type") == "":
		return x, invalidRequest("subject_token_type is missing")
	case !slices.Contains(subjectTypes, form.Get("subject_token_type")):
		return x, invalidRequest("this subject_token_type is not supported: access_token, jwt and id_token are")
	case form.Has("actor_token") || form.Has("actor_token_type"):
		return x, invalidRequest("delegation is not supported: send no actor_token")
	}
	if t := form.Get("requested_token_type"); t != "" && t != typeAccessToken && t != typeJWT {
		return x, invalidRequest("this requested_token_type is not supported: access_token and jwt are")
	}
	x.SubjectToken, x.Resource = secret.FromText(form.Get("subject_token")), form.Get("resource")
	if audience := form.Get("audience"); audience != "" {
		if x.Resource != "" && x.Resource != audience {
			return x, authority.ErrInvalidTarget
		}
		x.Resource = audience
	}
	return x, nil
}

// subjectRefused is what RFC 8693 §2.2.2 has a refused subject token be called.
func subjectRefused(err error) error {
	if !errors.Is(err, token.ErrRefused) && !errors.Is(err, token.ErrMalformed) || errors.Is(err, authority.ErrInvalidScope) || errors.Is(err, authority.ErrInvalidTarget) || errors.Is(err, authority.ErrInvalidClient) {
		return err
	}
	var no *authority.Refusal
	cause := err
	if errors.As(err, &no) {
		cause = errors.New("refused: " + string(no.Reason))
	}
	return &oauthError{Status: 400, Code: "invalid_request", Description: "the subject_token is not accepted", cause: cause}
}
