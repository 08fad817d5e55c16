package httpapi

import (
	"context"
	"net/http"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// purgePath is the route of requests that hold a whole plan.
const purgePath = apiPath + "/orphans:purge"

// largestPlan is how long the body of a purge may be, in bytes: a plan of some
// 100,000 tokens.
const largestPlan = longestAnswer

// largestBody is how long the body of a request may be, before it is known
// whose it is.
func (h *handler) largestBody(r *http.Request) int64 {
	if r.URL.Path == purgePath {
		return max(h.Limits.Body, largestPlan)
	}
	return h.Limits.Body
}

// wireQuery says whom to ask about.
type wireQuery struct {
	Realm string `json:"realm"`
}

// wirePurge is a plan and what a person has agreed to.
type wirePurge struct {
	Plan       *orphans.Plan `json:"plan"`
	MaxOrphans int           `json:"max_orphans"`
}

// orphansOf is what the caller of a request may ask about orphans, after the
// body was read into a struct. Only administrators may send a long one.
func (h *handler) orphansOf(w http.ResponseWriter, r *http.Request, into any) (orphans.Service, error) {
	who, err := h.caller(r)
	if err != nil {
		return nil, err
	}
	if h.Orphans == nil {
		return nil, token.Errorf(token.ErrNotFound, "no directory is configured at this server").WithHint("its config file names them, in the list directories")
	}
	limits := h.Limits
	if size := h.largestBody(r); size > limits.Body {
		me, err := h.Rules.As(who).WhoAmI(r.Context())
		if err != nil {
			return nil, err
		}
		if me.HasRole(token.Admin) {
			limits.Body = size
		}
	}
	if _, err := readJSON(w, r, limits, into); err != nil {
		return nil, err
	}
	return h.Orphans(who), mayTake(w, r, longWork)
}

func (h *handler) findOrphans(w http.ResponseWriter, r *http.Request) error {
	var body wireQuery
	s, err := h.orphansOf(w, r, &body)
	if err != nil {
		return err
	}
	p, err := s.Find(r.Context(), orphans.Query{Realm: body.Realm})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, p)
	return nil
}

func (h *handler) purgeOrphans(w http.ResponseWriter, r *http.Request) error {
	var body wirePurge
	s, err := h.orphansOf(w, r, &body)
	if err != nil {
		return err
	}
	if body.Plan == nil {
		return token.Errorf(token.ErrUsage, "there is no plan in the body").WithHint("POST %s/orphans makes one", apiPath)
	}
	rep, err := s.Purge(r.Context(), *body.Plan, orphans.Consent{MaxOrphans: body.MaxOrphans})
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, rep)
	return nil
}

// Orphans is the server's purge of orphans: its directories are asked, with its
// credentials.
func (c *Client) Orphans() orphans.Service { return remoteOrphans{c} }

type remoteOrphans struct{ *Client }

// Find implements [orphans.Service]. There is no progress to hear of.
func (c remoteOrphans) Find(ctx context.Context, q orphans.Query) (p orphans.Plan, err error) {
	err = c.do(ctx, call{
		method: "POST", path: apiPath + "/orphans", body: wireQuery{q.Realm}, long: true,
		into: &p, whole: func() bool { return p.Check() == nil },
	})
	if err != nil {
		return orphans.Plan{}, err
	}
	return p, nil
}

// Purge implements [orphans.Service]. It is not repeated by itself when its
// answer is lost, but asking again does no harm.
func (c remoteOrphans) Purge(ctx context.Context, p orphans.Plan, consent orphans.Consent) (rep orphans.Report, err error) {
	err = c.do(ctx, call{
		method: "POST", path: purgePath, body: wirePurge{&p, consent.MaxOrphans}, long: true, changes: true,
		into: &rep, whole: func() bool {
			return rep.Plan == p.Digest && !slices.ContainsFunc(rep.Realms, func(r orphans.Purged) bool { return r.Realm == "" })
		},
	})
	if err != nil {
		return orphans.Report{}, err
	}
	return rep, nil
}
