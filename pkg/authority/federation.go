package authority

import (
	"context"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Federation judges the JWTs of identity providers.
type Federation interface {
	// Replace makes these the providers whose JWTs are judged. Those that cannot
	// be used are left out, and are the error.
	Replace(providers []token.Provider) error
	// Knows says whether a JWT names the issuer of one of them. It believes
	// nothing.
	Knows(jwt string) bool
	// Judge says whom a JWT stands for. An error is a refusal, for our log alone,
	// unless it wraps token.ErrCannotTell.
	Judge(ctx context.Context, jwt string) (token.Verdict, error)
	// Explain says what every check finds. The error is that of Judge.
	Explain(ctx context.Context, jwt string) ([]token.Finding, error)
}

// federation keeps who judges at the providers that are in the store.
type federation struct {
	judge Federation
	last  atomic.Pointer[readProviders]
	mu    sync.Mutex // of who reads them
}

// readProviders are the providers as they were under one generation of the store.
type readProviders struct {
	generation uint64
	all        []token.Provider
}

// isFederated says whether a JWT is one that an identity provider has to answer
// for.
func (l *Local) isFederated(ctx context.Context, jwt string) (bool, error) {
	if l.federation.judge == nil {
		return false, nil
	}
	providers, err := l.loadProviders(ctx)
	if err != nil || len(providers) == 0 {
		return false, err
	}
	// One that was ours a moment ago is so still, and need not be read again.
	if generation, exact := l.store.Generation(); exact {
		if k, has := l.access.get(generation, sha256.Sum256([]byte(jwt))); has && k != nil {
			return false, nil
		}
	}
	return l.federation.judge.Knows(jwt), nil
}

// loadProviders reads the providers, unless nothing has been written since, and
// has them judged by.
func (l *Local) loadProviders(ctx context.Context) ([]token.Provider, error) {
	f := &l.federation
	if f.judge == nil {
		return nil, nil
	}
	current := func() *readProviders {
		generation, exact := l.store.Generation()
		if last := f.last.Load(); last != nil && exact && last.generation == generation {
			return last
		}
		return nil
	}
	if last := current(); last != nil {
		return last.all, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if last := current(); last != nil {
		return last.all, nil
	}
	// The generation is older than what is read under it, never newer.
	now := &readProviders{}
	now.generation, _ = l.store.Generation()
	err := l.view(ctx, func(r store.Reader) error {
		now.all = nil
		for p, err := range store.Providers.Scan(r) {
			if err != nil {
				return err
			}
			now.all = append(now.all, p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if last := f.last.Load(); last == nil || !reflect.DeepEqual(now.all, last.all) {
		if err := f.judge.Replace(l.usable(now.all)); err != nil {
			l.warn(err)
		}
	}
	f.last.Store(now)
	return now.all, nil
}

// oneMeaning sees to it that a directory's realm is not also a provider's, whose
// people would be taken for the directory's.
func (l *Local) oneMeaning(ctx context.Context, realm string) error {
	providers, err := l.loadProviders(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(providers, func(p token.Provider) bool { return strings.EqualFold(p.Name, realm) }) {
		return token.Errorf(token.ErrCannotTell, "%q is a directory and an identity provider: nobody can say who is meant", realm).
			WithHint("name the directory otherwise in the config file, or delete the provider")
	}
	return nil
}

// usable leaves out providers whose owners would have the realm of a directory:
// the same name would be two persons.
func (l *Local) usable(all []token.Provider) []token.Provider {
	return slices.DeleteFunc(slices.Clone(all), func(p token.Provider) bool {
		taken := l.isDirectory(p.Name)
		if taken {
			l.warn(realmTaken(p.Name))
		}
		return taken
	})
}

// isDirectory says whether a name is the realm of a directory, or looks like one.
func (l *Local) isDirectory(name string) bool {
	for realm := range l.directories {
		if strings.EqualFold(realm, name) {
			return true
		}
	}
	return slices.ContainsFunc(l.realms, func(realm string) bool { return strings.EqualFold(realm, name) })
}

func realmTaken(name string) error {
	return token.Errorf(token.ErrConflict, "%q is the realm of a directory and cannot name an identity provider: the same name would be two persons", name)
}

// errRejudge: the provider is no longer as it was when it judged.
var errRejudge = token.Errorf(token.ErrCannotTell, "the identity provider has changed meanwhile").WithHint("try again")

// stillJudged sees to it that a provider is as it was when it judged: while keys
// were fetched somebody may have disabled or narrowed it.
func stillJudged(r store.Reader, said *token.Verdict) error {
	p, err := store.Providers.Get(r, said.Provider)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &Refusal{Reason: ProviderOff}
	case err != nil:
		return err
	case p.Disabled:
		return &Refusal{Reason: ProviderOff}
	case p.Revision != said.Revision:
		return errRejudge
	}
	return nil
}

// judgeFederated says whom a JWT of an identity provider stands for: the account
// that its subject is linked to, else the provider's own subject, if it may come
// without an account.
func (l *Local) judgeFederated(ctx context.Context, jwt string) (v verdict, err error) {
	v.of = nobody
	said, err := l.judgeJWT(ctx, jwt)
	if err != nil {
		return v, err
	}
	v.said = &said
	v.identity = token.Identity{
		Kind: token.Federated, Provider: said.Provider, Issuer: said.Issuer, Audience: said.Audience, JWTID: said.ID,
		IssuedAt: said.IssuedAt, ExpiresAt: said.ExpiresAt,
	}
	v.of, err = l.knownIdentity(ctx, &said)
	if err != nil {
		v.of = nobody
		return v, err
	}
	if v.of.account.Off() {
		return v, &Refusal{Reason: OwnerDisabled, why: v.of.account.Owner.String()}
	}
	v.stand(l.now())
	return v, nil
}

// stand says whom a JWT stands for whose account is known.
func (v *verdict) stand(now time.Time) {
	v.identity.Owner, v.identity.Roles = v.of.account.Owner, federatedRoles(v.of.account, v.said, now)
	if v.said.Delegated {
		v.identity.Narrowed, v.identity.Until = true, v.said.ExpiresAt
	}
}

// judgeJWT has a provider judge as it is now.
func (l *Local) judgeJWT(ctx context.Context, jwt string) (said token.Verdict, err error) {
	for range 3 {
		said, err = l.federation.judge.Judge(ctx, jwt)
		if errors.Is(err, token.ErrCannotTell) {
			return said, err
		}
		if err != nil {
			return said, &Refusal{Reason: WrongJWT, why: err.Error()}
		}
		providers, err := l.loadProviders(ctx)
		if err != nil {
			return said, err
		}
		now := slices.IndexFunc(providers, func(p token.Provider) bool { return p.Name == said.Provider })
		if now < 0 || providers[now].Disabled {
			return said, &Refusal{Reason: ProviderOff}
		}
		if providers[now].Revision == said.Revision {
			return said, nil
		}
	}
	return said, errRejudge
}

// federatedRoles are the roles of an account whose provider has just said which
// of them come from it, or to which of them a client is limited.
func federatedRoles(a *token.Account, said *token.Verdict, now time.Time) []token.Role {
	if said.Delegated {
		return token.IntersectRoles(said.Roles, a.AllRoles(now))
	}
	today := *a
	today.Identities = slices.Clone(a.Identities)
	if i := today.Identity(said.Identity()); i != nil {
		i.Roles = nil
	}
	roles := slices.Concat(today.AllRoles(now), said.Roles)
	slices.Sort(roles)
	return slices.Compact(roles)
}

// knownIdentity reads the account of an identity, or remembers it. For a subject
// that comes without one it makes up an empty one.
func (l *Local) knownIdentity(ctx context.Context, said *token.Verdict) (*known, error) {
	k, err := remember(ctx, l, &l.identities, said.Identity(), func(r store.Reader) (*known, error) {
		holder, err := store.Identities.Get(r, said.Issuer, said.Claim, said.Subject)
		if err != nil {
			return nil, err
		}
		a, err := readAccount(r, holder.Owner)
		return &known{account: &a}, err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return k, err
	}
	owner := said.Owner()
	if !said.Unlinked {
		return nil, &Refusal{Reason: UnlinkedSubject, why: owner.String() + " is linked to no account"}
	}
	err = l.view(ctx, func(r store.Reader) error { return unclaimed(r, owner) })
	return &known{account: &token.Account{Owner: owner, Kind: token.Person}}, err
}

// unclaimed refuses a subject whose name is taken by the account of another: of
// a provider that had this one's name, or another claim.
func unclaimed(r store.Reader, o token.Owner) error {
	has, err := store.Accounts.Has(r, o.Realm, o.Name)
	if err == nil && has {
		err = &Refusal{Reason: UnlinkedSubject, why: "the account " + o.String() + " is that of another identity"}
	}
	return err
}

// readAccount reads an account with the roles that providers gave and would give
// today: one that is disabled or gone gives none, nor do rules that have changed.
func readAccount(r store.Reader, o token.Owner) (token.Account, error) {
	a, err := store.Accounts.Get(r, o.Realm, o.Name)
	if err != nil || !slices.ContainsFunc(a.Identities, func(i token.LinkedIdentity) bool { return len(i.Roles) > 0 }) {
		return a, err
	}
	rules := map[string]string{}
	for p, err := range store.Providers.Scan(r) {
		if err != nil {
			return a, err
		}
		if !p.Disabled {
			rules[p.Issuer] = p.RoleRules()
		}
	}
	for n := range a.Identities {
		if i := &a.Identities[n]; rules[i.Issuer] != i.RolesBy {
			i.Roles = nil
		}
	}
	return a, nil
}

// rolesRenewed is how much of the time that a provider's roles are believed may
// have passed before a JWT that says the same is written down again.
const rolesRenewed = time.Hour

// acquaint keeps what a provider says of a subject who is about to use their
// rights, and makes the account of one who was never here.
func (l *Local) acquaint(ctx context.Context, v verdict, from string) (verdict, error) {
	said := v.said
	var p token.Policy
	if err := l.view(ctx, func(r store.Reader) (err error) {
		p, err = policy(r)
		return err
	}); err != nil {
		return v, err
	}
	if fresh := v.of.account.Revision == 0; !fresh && l.upToDate(v.of.account, said, &p) {
		return v, nil
	}
	s := &session{Local: l, caller: Caller{Owner: v.identity.Owner, Via: "provider " + said.Provider, From: from}}
	err := s.update(ctx, func(c *change) error {
		if err := stillJudged(c, said); err != nil {
			return err
		}
		holder, err := store.Identities.Get(c, said.Issuer, said.Claim, said.Subject)
		var a token.Account
		switch {
		case err == nil:
			a, err = store.Accounts.Get(c, holder.Owner.Realm, holder.Owner.Name)
		case errors.Is(err, store.ErrNotFound):
			a, err = c.firstVisit(said)
		}
		if err != nil {
			return err
		}
		a.Identities = slices.Clone(a.Identities)
		i := a.Identity(said.Identity())
		if i == nil {
			return token.Errorf(token.ErrCannotTell, "the account %s has changed meanwhile", a.Owner).WithHint("try again")
		}
		if said.IssuedAt.Before(i.SaidAt) {
			return nil // another has come in between that is newer
		}
		given := given(said)
		if !slices.Equal(i.Roles, given) {
			c.noteAccount("account.roles", &a, rolesText(given)+" from the provider "+said.Provider)
		}
		i.Roles, i.RolesUntil, i.RolesBy = given, c.now.Add(p.FederatedTokenLifetime), said.RoleRules
		i.SaidAt = said.IssuedAt.Truncate(time.Second)
		a.Revision++
		return c.putAccount(a)
	})
	if err != nil {
		return v, err
	}
	if v.of, err = l.knownIdentity(ctx, said); err != nil {
		return v, err
	}
	if v.of.account.Off() {
		return v, &Refusal{Reason: OwnerDisabled, why: v.of.account.Owner.String()}
	}
	v.stand(l.now())
	return v, nil
}

// given are the roles that a provider gives a subject.
func given(said *token.Verdict) []token.Role {
	if said.Delegated {
		return nil
	}
	return said.Roles
}

func (l *Local) upToDate(a *token.Account, said *token.Verdict, p *token.Policy) bool {
	i := a.Identity(said.Identity())
	if i != nil && said.IssuedAt.Before(i.SaidAt) { // who shows an old one does not undo what was said since
		return true
	}
	if i == nil || !slices.Equal(i.Roles, given(said)) {
		return false
	}
	life := p.FederatedTokenLifetime
	return len(i.Roles) == 0 || l.now().Add(life-min(rolesRenewed, life/2)).Before(i.RolesUntil)
}

// firstVisit is the account of a subject who was never here.
func (c *change) firstVisit(said *token.Verdict) (token.Account, error) {
	owner := said.Owner()
	if !said.Unlinked {
		return token.Account{}, &Refusal{Reason: UnlinkedSubject, why: owner.String() + " is linked to no account"}
	}
	if err := unclaimed(c, owner); err != nil {
		return token.Account{}, err
	}
	a := token.Account{
		Owner: owner, Kind: token.Person, CreatedAt: c.now, CreatedBy: owner,
		Identities: []token.LinkedIdentity{{ExternalIdentity: said.Identity()}},
	}
	c.noteAccount("account.add", &a, "first log-in by the provider "+said.Provider)
	return a, nil
}

// putIdentities keeps the index of external identities in step with an account.
func (c *change) putIdentities(was, now *token.Account) error {
	for _, i := range was.Identities {
		if now.Identity(i.ExternalIdentity) == nil {
			if err := store.Identities.Delete(c, i.Issuer, i.Claim, i.Subject); err != nil {
				return err
			}
		}
	}
	for _, i := range now.Identities {
		if was.Identity(i.ExternalIdentity) != nil {
			continue
		}
		holder, err := store.Identities.Get(c, i.Issuer, i.Claim, i.Subject)
		if err == nil && holder.Owner != now.Owner {
			return token.Errorf(token.ErrConflict, "%q of %s stands for %s already", i.Subject, i.Issuer, holder.Owner).
				WithHint("end that first: tokenctl admin user unlink %s --idp %s --subject %s, or delete the account", holder.Owner, i.Issuer, i.Subject)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := store.Identities.Put(c, store.IdentityHolder{ExternalIdentity: i.ExternalIdentity, Owner: now.Owner}); err != nil {
			return err
		}
	}
	return nil
}

// onlyFederated says whether only an identity provider knows an owner, or the
// steward who answers for a service account.
func onlyFederated(r store.Reader, a *token.Account) (bool, error) {
	realm := a.Owner.Realm
	if a.Kind == token.ServiceAccount && realm == token.LocalRealm {
		realm = a.Steward.Realm
	}
	if realm == token.LocalRealm {
		return false, nil
	}
	return store.Providers.Has(r, realm)
}
