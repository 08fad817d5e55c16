package httpapi

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// wireProvider is an identity provider.
type wireProvider struct {
	Name         string                   `json:"name"`
	Status       string                   `json:"status"` // enabled or disabled
	Issuer       string                   `json:"issuer"`
	Audiences    orEmpty[string]          `json:"audiences"`
	JWKSURL      orNull[string]           `json:"jwks_url"`
	Certificates orEmpty[[]byte]          `json:"certificates"` // DER, in base64
	Algorithms   orEmpty[token.Algorithm] `json:"algorithms"`
	Claim        string                   `json:"claim"`
	RoleClaim    orNull[string]           `json:"role_claim"`
	RoleMap      orEmpty[wireRoleMapping] `json:"role_map"`
	Require      orEmpty[wireClaimValue]  `json:"require"`
	Unlinked     bool                     `json:"unlinked"`
	ClientID     orNull[string]           `json:"client_id"`
	Leeway       wireDuration             `json:"leeway"`
	CreatedAt    orNull[time.Time]        `json:"created_at"`
	CreatedBy    orNull[token.Owner]      `json:"created_by"`
	Revision     uint64                   `json:"revision"`
}

var providers = named[token.Provider, wireProvider]{
	what: "identity provider", plural: "providers", naming: byName, name: func(p token.Provider) string { return p.Name },
	toWire: toWireProvider, fromWire: (*wireProvider).provider, whole: (*wireProvider).whole, fresh: token.NewProvider,
	list: authority.Service.ListProviders, get: authority.Service.Provider,
	add: authority.Service.AddProvider, set: authority.Service.SetProvider, remove: authority.Service.DeleteProvider,
}

// wireRoleMapping gives a role for a value of the role claim.
type wireRoleMapping struct {
	From string     `json:"from"`
	Role token.Role `json:"role"`
}

// wireClaimValue is a value of a claim that JWTs must have.
type wireClaimValue struct {
	Claim string `json:"claim"`
	Value string `json:"value"`
}

// The states of a provider are those of a service.
func toWireProvider(p token.Provider) wireProvider {
	w := wireProvider{
		Name: p.Name, Status: serviceEnabled, Issuer: p.Issuer, Audiences: p.Audiences, JWKSURL: some(p.JWKSURL), Certificates: p.Certificates,
		Algorithms: p.Algorithms, Claim: p.Claim, RoleClaim: some(p.RoleClaim), Unlinked: p.Unlinked, ClientID: some(p.ClientID),
		Leeway: wireDuration(p.Leeway), CreatedAt: some(p.CreatedAt), CreatedBy: some(p.CreatedBy), Revision: p.Revision,
	}
	for _, m := range p.RoleMap {
		w.RoleMap = append(w.RoleMap, wireRoleMapping(m))
	}
	for _, r := range p.Require {
		w.Require = append(w.Require, wireClaimValue(r))
	}
	if p.Disabled {
		w.Status = serviceDisabled
	}
	return w
}

func (w *wireProvider) provider() (token.Provider, error) {
	if w.Status != serviceEnabled && w.Status != serviceDisabled {
		return token.Provider{}, token.Errorf(token.ErrUsage, "status %q is not enabled or disabled", w.Status)
	}
	p := token.Provider{
		Name: w.Name, Disabled: w.Status == serviceDisabled, Issuer: w.Issuer, Audiences: w.Audiences.items(), JWKSURL: w.JWKSURL.v,
		Certificates: w.Certificates.items(), Algorithms: w.Algorithms.items(), Claim: w.Claim, RoleClaim: w.RoleClaim.v, Unlinked: w.Unlinked,
		ClientID: w.ClientID.v, Leeway: time.Duration(w.Leeway), CreatedAt: w.CreatedAt.v, CreatedBy: w.CreatedBy.v, Revision: w.Revision,
	}
	for _, m := range w.RoleMap {
		p.RoleMap = append(p.RoleMap, token.RoleMapping(m))
	}
	for _, r := range w.Require {
		p.Require = append(p.Require, token.ClaimValue(r))
	}
	return p, nil
}

func (w *wireProvider) whole() bool { return w.Name != "" && w.Issuer != "" && w.Revision > 0 }

// wireLoginProvider is a provider at which somebody can log in.
type wireLoginProvider struct {
	Name     string `json:"name"`
	Issuer   string `json:"issuer"`
	ClientID string `json:"client_id"`
	Audience string `json:"audience"`
}

// wireLoginProviders are all of them.
type wireLoginProviders struct {
	Providers []wireLoginProvider `json:"providers"`
}

// wireLink names a subject of a provider, and whose account it is linked to.
type wireLink struct {
	Owner    token.Owner `json:"owner"`
	Provider string      `json:"provider"`
	Subject  string      `json:"subject"`
}

// wireIdentityLink is an external identity of an account.
type wireIdentityLink struct {
	Issuer     string            `json:"issuer"`
	Claim      string            `json:"claim"`
	Subject    string            `json:"subject"`
	Roles      roleList          `json:"roles"`
	RolesUntil orNull[time.Time] `json:"roles_until"`
}

func toWireLinks(all []token.LinkedIdentity) (w orEmpty[wireIdentityLink]) {
	for _, i := range all {
		w = append(w, wireIdentityLink{i.Issuer, i.Claim, i.Subject, i.Roles, some(i.RolesUntil)})
	}
	return w
}

func fromWireLinks(w orEmpty[wireIdentityLink]) (all []token.LinkedIdentity) {
	for _, i := range w {
		all = append(all, token.LinkedIdentity{
			ExternalIdentity: token.ExternalIdentity{Issuer: i.Issuer, Claim: i.Claim, Subject: i.Subject}, Roles: i.Roles.items(), RolesUntil: i.RolesUntil.v,
		})
	}
	return all
}

// wireJWTExplanation is the verdict on a JWT of a provider.
type wireJWTExplanation struct {
	Accepted   *bool               `json:"accepted"`
	CannotTell bool                `json:"cannot_tell"`
	Provider   orNull[string]      `json:"provider"`
	Owner      orNull[token.Owner] `json:"owner"`
	Roles      roleList            `json:"roles"`
	Findings   []wireFinding       `json:"findings"`
}

// wireFinding is what one check says of a JWT.
type wireFinding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Text  string `json:"text"`
}

func toWireJWTExplanation(e authority.JWTExplanation) wireJWTExplanation {
	w := wireJWTExplanation{
		Accepted: &e.Accepted, CannotTell: e.CannotTell, Provider: some(e.Provider), Owner: some(e.Owner), Roles: e.Roles, Findings: make([]wireFinding, len(e.Findings)),
	}
	for i, f := range e.Findings {
		w.Findings[i] = wireFinding(f)
	}
	return w
}

func (w *wireJWTExplanation) explanation() authority.JWTExplanation {
	e := authority.JWTExplanation{Accepted: *w.Accepted, CannotTell: w.CannotTell, Provider: w.Provider.v, Owner: w.Owner.v, Roles: w.Roles.items()}
	for _, f := range w.Findings {
		e.Findings = append(e.Findings, token.Finding(f))
	}
	return e
}

func (w *wireJWTExplanation) whole() bool { return w.Accepted != nil && w.Findings != nil }
