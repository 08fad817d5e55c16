package idp

import (
	"context"
	"errors"
	"strings"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Metadata is what a provider says of itself: OpenID Connect Discovery §3.
type Metadata struct {
	Issuer           string   `json:"issuer"`
	JWKSURL          string   `json:"jwks_uri"`
	AuthorizationURL string   `json:"authorization_endpoint"`
	TokenURL         string   `json:"token_endpoint"`
	DeviceURL        string   `json:"device_authorization_endpoint"` // RFC 8628 §4; may be empty
	Algorithms       []string `json:"id_token_signing_alg_values_supported"`
	// NamesItself: it says in each answer to a log-in which provider it is, RFC
	// 9207 §3.
	NamesItself bool `json:"authorization_response_iss_parameter_supported"`
}

// Discover asks a provider about itself. An issuer that is no https URL, or that
// calls itself something else, is token.ErrUsage; no answer is
// token.ErrCannotTell.
func Discover(ctx context.Context, o Options, issuer string) (Metadata, error) {
	return newFetcher(o).discover(ctx, issuer)
}

// discover does without go-oidc, which reads answers of any size and puts the
// whole of a wrong one into its error.
func (f *fetcher) discover(ctx context.Context, issuer string) (m Metadata, err error) {
	if !token.IsFetchable(issuer) || strings.Contains(issuer, "?") {
		return m, token.Errorf(token.ErrUsage, "the issuer %.200q is no https URL without query and fragment", issuer)
	}
	body, err := f.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return m, err
	}
	if strict.Unmarshal(body, &m) != nil || m.Issuer == "" {
		return Metadata{}, token.Errorf(token.ErrCannotTell, "what %s says of itself is no OpenID configuration", issuer)
	}
	// Discovery §4.3: otherwise one provider could speak for another.
	if m.Issuer != issuer {
		return Metadata{}, token.Errorf(token.ErrUsage, "the provider at %s calls itself %.200q", issuer, m.Issuer).
			WithHint("the issuer must be written exactly as the provider does, with or without a slash at its end")
	}
	return m, nil
}

// cannotTell makes every error one that keys could not be had by.
func cannotTell(err error) error {
	if err == nil || errors.Is(err, token.ErrCannotTell) {
		return err
	}
	return token.Errorf(token.ErrCannotTell, "%w", err)
}
