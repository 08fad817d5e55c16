package ldap

import (
	"testing"

	goldap "github.com/go-ldap/ldap/v3"
)

// Another server of the same directory may write an id in another way, and of
// several ids nobody knows which.
func TestEntryID(t *testing.T) {
	const id = "8f14e45f-ceea-467f-9f3a-0cc175b9c0f1"
	for _, c := range []struct {
		attribute string
		values    []string
		want      string
	}{
		{"entryUUID", []string{id}, id},
		{"entryUUID", []string{"8F14E45F-CEEA-467F-9F3A-0CC175B9C0F1"}, id},
		{"entryUUID", []string{id, "another"}, ""},
		{"entryUUID", nil, ""},
		{"employeeNumber", []string{"A7"}, "A7"},
		{"objectGUID", []string{"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10"}, "04030201-0605-0807-090a-0b0c0d0e0f10"},
	} {
		if got := entryID(goldap.NewEntry("uid=u", map[string][]string{c.attribute: c.values}), c.attribute); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.attribute, c.values, got, c.want)
		}
	}
}
