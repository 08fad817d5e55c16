package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const metadataPath = "/.well-known/oauth-authorization-server"

// metadata describes the server to OAuth clients (RFC 8414 §2). All URLs are
// below the issuer, which is a setting and not what a request says.
func (h *handler) metadata(w http.ResponseWriter, r *http.Request) error {
	p, err := h.Rules.As(authority.Caller{}).Policy(r.Context())
	if err != nil {
		return err
	}
	issuer, err := url.Parse(p.Issuer)
	if err != nil {
		return err
	}
	if r.PathValue("path") != strings.Trim(issuer.Path, "/") {
		return token.Errorf(token.ErrNotFound, "there is no issuer of this name here")
	}
	base := strings.TrimSuffix(p.Issuer, "/")
	writeOAuth(w, http.StatusOK, map[string]any{
		"issuer":                 p.Issuer,
		"token_endpoint":         base + "/oauth2/token",
		"revocation_endpoint":    base + "/oauth2/revoke",
		"introspection_endpoint": base + "/oauth2/introspect",
		"jwks_uri":               base + "/.well-known/jwks.json",
		// There is no authorization endpoint, and the list is required.
		"response_types_supported":                      []string{"none"},
		"grant_types_supported":                         []string{grantRefresh, grantExchange},
		"token_endpoint_auth_methods_supported":         clientMethods,
		"revocation_endpoint_auth_methods_supported":    clientMethods,
		"introspection_endpoint_auth_methods_supported": secretMethods,
	})
	return nil
}

// keySet is the public keys of access tokens (RFC 7517 §5). A key is published
// long before it signs.
func (h *handler) keySet(w http.ResponseWriter, r *http.Request) error {
	set, err := h.Rules.As(authority.Caller{}).JWKS(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Write(set)
	return nil
}
