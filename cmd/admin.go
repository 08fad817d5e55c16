package cmd

import "github.com/spf13/cobra"

func newAdminCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "admin",
		Short: "Accounts, services, policy, keys, audit, backups",
		Long: `Commands of the sysadmin: accounts, services and their provisioners, directories,
identity providers, connections, policy, keys, the audit log, backups, and what is in the store.`,
		Example: `  tokenctl admin user list
  tokenctl admin policy set refresh_tokens everyone`,
	}
	asGroup(c)
	c.AddCommand(
		newAdminUserCommand(a), newAdminServiceCommand(a), newAdminIdpCommand(a), newAdminProvisionCommand(a), newAdminConnectionCommand(a), newAdminPolicyCommand(a), newAdminKeyCommand(a),
		newAdminAuditCommand(a), newAdminExplainCommand(a), newAdminCheckCommand(a), newAdminStatsCommand(a),
		newAdminBackupCommand(a), newAdminRestoreCommand(a), newAdminDirectoryCommand(a), newPurgeCommand(a, "purge"),
	)
	return c
}
