package httpapi

import (
	"context"
	"net/http"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// loginProviders needs no caller: it is for those who are about to become one.
func (h *handler) loginProviders(w http.ResponseWriter, r *http.Request) error {
	all, err := h.Rules.As(authority.Caller{From: h.clientAddress(r)}).LoginProviders(r.Context())
	if err != nil {
		return err
	}
	answer := wireLoginProviders{make([]wireLoginProvider, len(all))}
	for i, p := range all {
		answer.Providers[i] = wireLoginProvider{p.Name, p.Issuer, p.ClientID, p.Audiences[0]}
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (h *handler) explainJWT(w http.ResponseWriter, r *http.Request) error {
	var body wireCredential
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	e, err := s.ExplainJWT(r.Context(), secret.FromText(body.Credential))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireJWTExplanation(e))
	return nil
}

func (h *handler) linkIdentity(w http.ResponseWriter, r *http.Request) error {
	return h.changeLink(w, r, authority.Service.LinkIdentity)
}

func (h *handler) unlinkIdentity(w http.ResponseWriter, r *http.Request) error {
	return h.changeLink(w, r, authority.Service.UnlinkIdentity)
}

func (h *handler) changeLink(w http.ResponseWriter, r *http.Request, change func(authority.Service, context.Context, token.Owner, string, string) (token.Account, error)) error {
	var body wireLink
	s, err := h.serviceFor(w, r, &body)
	if err != nil {
		return err
	}
	if body.Owner.IsZero() || body.Provider == "" || body.Subject == "" {
		return token.Errorf(token.ErrUsage, "owner, provider or subject is missing")
	}
	a, err := change(s, r.Context(), body.Owner, body.Provider, body.Subject)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireAccount(a))
	return nil
}
