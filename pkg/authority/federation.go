package authority

import (
	"context"
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
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

// usable leaves out providers whose owners would have the realm of a directory:
// the same name would be two persons.
func (l *Local) usable(all []token.Provider) []token.Provider {
	return slices.DeleteFunc(slices.Clone(all), func(p token.Provider) bool {
		taken := l.directories[p.Name] != nil || slices.Contains(l.realms, p.Name)
		if taken {
			l.warn(realmTaken(p.Name))
		}
		return taken
	})
}

func realmTaken(name string) error {
	return token.Errorf(token.ErrConflict, "%q is the realm of a directory and cannot name an identity provider: the same name would be two persons", name)
}

// judgeFederated says whom a JWT of an identity provider stands for: the account
// that its subject is linked to, else the provider's own subject, if it may come
// without an account.
func (l *Local) judgeFederated(ctx context.Context, jwt string) (v verdict, err error) {
	v.of = nobody
	said, err := l.federation.judge.Judge(ctx, jwt)
	if errors.Is(err, token.ErrCannotTell) {
		return v, err
	}
	if err != nil {
		return v, &Refusal{Reason: WrongJWT, why: err.Error()}
	}
	v.said = &said
	v.identity = token.Identity{
		Kind: token.Federated, Provider: said.Provider, Issuer: said.Issuer, JWTID: said.ID, ExpiresAt: said.ExpiresAt,
	}
	v.of, err = l.knownIdentity(ctx, &said)
	if err != nil {
		v.of = nobody
		return v, err
	}
	if v.of.account.Off() {
		return v, &Refusal{Reason: OwnerDisabled, why: v.of.account.Owner.String()}
	}
	v.identity.Owner, v.identity.Roles = v.of.account.Owner, federatedRoles(v.of.account, &said, l.now())
	return v, nil
}

// federatedRoles are the roles of an account whose provider has just said which
// of them come from it.
func federatedRoles(a *token.Account, said *token.Verdict, now time.Time) []token.Role {
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
// today: one that is disabled or gone gives none, nor what it has no mapping for
// any more.
func readAccount(r store.Reader, o token.Owner) (token.Account, error) {
	a, err := store.Accounts.Get(r, o.Realm, o.Name)
	if err != nil || !slices.ContainsFunc(a.Identities, func(i token.LinkedIdentity) bool { return len(i.Roles) > 0 }) {
		return a, err
	}
	given := map[string][]token.RoleMapping{}
	for p, err := range store.Providers.Scan(r) {
		if err != nil {
			return a, err
		}
		if !p.Disabled {
			given[p.Issuer] = p.RoleMap
		}
	}
	for n := range a.Identities {
		i := &a.Identities[n]
		i.Roles = slices.DeleteFunc(i.Roles, func(role token.Role) bool {
			return !slices.ContainsFunc(given[i.Issuer], func(m token.RoleMapping) bool { return m.Role == role })
		})
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
	fresh := v.of.account.Revision == 0
	if !fresh && l.upToDate(v.of.account, said) {
		return v, nil
	}
	s := &session{Local: l, caller: Caller{Owner: v.identity.Owner, Via: "provider " + said.Provider, From: from}}
	err := s.update(ctx, func(c *change) error {
		p, err := policy(c)
		if err != nil {
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
		if !slices.Equal(i.Roles, said.Roles) {
			c.noteAccount("account.roles", &a, rolesText(said.Roles)+" from the provider "+said.Provider)
		}
		i.Roles, i.RolesUntil = said.Roles, c.now.Add(p.FederatedTokenLifetime)
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
	v.identity.Owner, v.identity.Roles = v.of.account.Owner, federatedRoles(v.of.account, said, l.now())
	return v, nil
}

func (l *Local) upToDate(a *token.Account, said *token.Verdict) bool {
	i := a.Identity(said.Identity())
	if i == nil || !slices.Equal(i.Roles, said.Roles) {
		return false
	}
	return len(i.Roles) == 0 || l.now().Add(rolesRenewed).Before(i.RolesUntil)
}

// firstVisit is the account of a subject who was never here.
func (c *change) firstVisit(said *token.Verdict) (token.Account, error) {
	owner := said.Owner()
	p, err := store.Providers.Get(c, said.Provider)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return token.Account{}, &Refusal{Reason: ProviderOff}
	case err != nil:
		return token.Account{}, err
	case p.Disabled || p.Issuer != said.Issuer:
		return token.Account{}, &Refusal{Reason: ProviderOff}
	case !p.Unlinked:
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

// isFederatedRealm says whether only an identity provider knows the owners of a
// realm.
func isFederatedRealm(r store.Reader, realm string) (bool, error) {
	return store.Providers.Has(r, realm)
}
