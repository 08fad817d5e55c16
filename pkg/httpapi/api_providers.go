package httpapi

import (
	"context"
	"net/http"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func (h *handler) listProviders(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	after, err := readQuery(r.URL.Query(), afterFields, "limit")
	if err != nil {
		return err
	}
	return list[token.Provider]{
		"providers", s.ListProviders(r.Context()),
		func(p token.Provider) any { return toWireProvider(p) }, func(p token.Provider) string { return p.Name },
	}.behind(after).answer(w, r)
}

func (h *handler) postProvider(w http.ResponseWriter, r *http.Request) error {
	body := toWireProvider(token.NewProvider("")) // what is left out is as in a new one
	s, err := h.serviceOnce(w, r, &body)
	if err != nil {
		return err
	}
	p, err := body.provider()
	if err != nil {
		return err
	}
	if p, err = s.AddProvider(r.Context(), p); err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, toWireProvider(p))
	return nil
}

func (h *handler) getProvider(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	p, err := s.Provider(r.Context(), r.PathValue("name"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireProvider(p))
	return nil
}

func (h *handler) putProvider(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	s, err := h.service(r)
	if err != nil {
		return err
	}
	now, err := s.Provider(r.Context(), name)
	if err != nil {
		return err
	}
	body := toWireProvider(now) // a client that does not know a setting must not weaken it
	if _, err := readJSON(w, r, h.Limits, &body); err != nil {
		return err
	}
	if body.Name != name {
		return token.Errorf(token.ErrUsage, "the body is about %q, the path about %q", body.Name, name)
	}
	p, err := body.provider()
	if err != nil {
		return err
	}
	if p, err = s.SetProvider(r.Context(), p); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, toWireProvider(p))
	return nil
}

func (h *handler) deleteProvider(w http.ResponseWriter, r *http.Request) error {
	s, err := h.service(r)
	if err != nil {
		return err
	}
	return done(w, s.DeleteProvider(r.Context(), r.PathValue("name")))
}

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
