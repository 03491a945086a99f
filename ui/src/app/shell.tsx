import { ActionIcon, AppShell, Burger, Group, Menu, NavLink, ScrollArea, Text, Tooltip, UnstyledButton, useMantineColorScheme, VisuallyHidden } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconDeviceDesktop, IconFunction, IconLogout, IconMoon, IconSun } from '@tabler/icons-react';
import { Link, Outlet, useRouterState } from '@tanstack/react-router';
import { useEffect, type ComponentType } from 'react';

import { useMay, useSession, type Permission } from '~/shared/session';

interface Place {
  to: string;
  label: string;
  icon: ComponentType<{ size?: number; stroke?: number }>;
  needs: Permission;
}

/** Every page of the navigation, in its order. */
export const places: Place[] = [{ to: '/functions', label: 'Functions', icon: IconFunction, needs: 'ReadLambdas' }];

export function Shell() {
  const [opened, { toggle, close }] = useDisclosure();
  const path = useRouterState({ select: (s) => s.location.pathname });
  useEffect(close, [path, close]);
  return (
    <AppShell header={{ height: 48 }} navbar={{ width: 210, breakpoint: 'sm', collapsed: { mobile: !opened } }} padding="md">
      <AppShell.Header>
        <Group h="100%" px="md" gap="sm" wrap="nowrap">
          <Burger opened={opened} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={opened ? 'Close the navigation' : 'Open the navigation'} />
          <UnstyledButton component={Link} to="/" aria-label="Sluice, home">
            <Group gap={8} wrap="nowrap">
              <img src="/icon.svg" alt="" width={24} height={24} />
              <Text fw={700}>Sluice</Text>
            </Group>
          </UnstyledButton>
          <div style={{ flex: 1 }} />
          <SchemeButton />
          <UserMenu />
        </Group>
      </AppShell.Header>
      <AppShell.Navbar>
        <ScrollArea type="auto">
          <nav aria-label="Pages">
            {places.map((place) => (
              <PlaceLink key={place.to} place={place} active={path === place.to || path.startsWith(`${place.to}/`)} />
            ))}
          </nav>
        </ScrollArea>
      </AppShell.Navbar>
      <AppShell.Main>
        <Outlet />
      </AppShell.Main>
    </AppShell>
  );
}

function PlaceLink({ place, active }: { place: Place; active: boolean }) {
  const may = useMay(place.needs);
  const icon = <place.icon size={18} stroke={1.7} />;
  if (!may.allowed) {
    return (
      <Tooltip label={may.reason} position="right" multiline maw={260} events={{ hover: true, focus: true, touch: true }}>
        <NavLink component="button" type="button" label={place.label} leftSection={icon} aria-disabled data-disabled aria-description={may.reason} />
      </Tooltip>
    );
  }
  return <NavLink component={Link} to={place.to} label={place.label} leftSection={icon} active={active} variant="filled" aria-current={active ? 'page' : undefined} />;
}

const schemes = { light: 'dark', dark: 'auto', auto: 'light' } as const;

function SchemeButton() {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const next = schemes[colorScheme];
  const names = { light: 'light', dark: 'dark', auto: 'as the system' };
  const Icon = { light: IconSun, dark: IconMoon, auto: IconDeviceDesktop }[colorScheme];
  const label = `Colours: ${names[colorScheme]}. Change to ${names[next]}`;
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" onClick={() => setColorScheme(next)} aria-label={label}>
        <Icon size={18} />
      </ActionIcon>
    </Tooltip>
  );
}

function UserMenu() {
  const { user } = useSession();
  const signOut = async () => {
    await fetch('/ui/sign-out', { method: 'POST', credentials: 'same-origin' });
    window.location.assign('/sign-in');
  };
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <UnstyledButton>
          <VisuallyHidden>Signed in as</VisuallyHidden>
          <Text size="sm" maw={220} truncate visibleFrom="xs">
            {user.loginName}
          </Text>
          <Text size="xs" c="dimmed">
            Account {user.accountId}
          </Text>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{user.roles.length ? user.roles.join(', ') : <VisuallyHidden>no roles</VisuallyHidden>}</Menu.Label>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void signOut()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
