import { IconAlertTriangle, IconBug, IconCircleCheck, IconClockExclamation, IconCloudOff, IconCode, IconInfoCircle, IconQuestionMark, IconXboxX } from '@tabler/icons-react';
import type { ComponentType } from 'react';

import type { Invocation } from '~/shared/api/types';

import type { Level } from './lines';
import classes from './logs.module.css';

type Icon = ComponentType<{ size?: number; stroke?: number; 'aria-hidden'?: boolean }>;

const levelIcons: Record<Level, Icon> = { Debug: IconBug, Info: IconInfoCircle, Warn: IconAlertTriangle, Error: IconXboxX };

/** A level, as icon and word. */
export function LevelMark({ level }: { level: Level }) {
  const Icon = levelIcons[level];
  return (
    <span className={classes.mark} data-tone={level}>
      <Icon size={14} stroke={2} aria-hidden />
      {level}
    </span>
  );
}

export type InvocationState = Invocation['state'];

/** What each state of an invocation is called, and means. */
export const stateWords: Record<InvocationState, { word: string; means: string; tone: string; icon: Icon }> = {
  SUCCEEDED: { word: 'Succeeded', means: 'The lambda called back with a result', tone: 'Good', icon: IconCircleCheck },
  CODING_FAILURE: { word: 'Lambda failed', means: 'The lambda called back with an error, threw, or ended its process', tone: 'Error', icon: IconCode },
  TIMEOUT: { word: 'Timed out', means: 'The lambda did not call back in time', tone: 'Error', icon: IconClockExclamation },
  PLATFORM_FAILURE: { word: 'Platform failed', means: 'The platform failed or refused the call', tone: 'Warn', icon: IconCloudOff },
  UNKOWN: { word: 'Unknown', means: 'Nobody learned how it ended: the caller left', tone: 'Debug', icon: IconQuestionMark },
};

/** In the order in which filters show them. */
export const invocationStates = Object.keys(stateWords) as InvocationState[];

/** How an invocation ended, as icon and word. */
export function StateMark({ state }: { state: InvocationState }) {
  const { word, means, tone, icon: Icon } = stateWords[state];
  return (
    <span className={classes.mark} data-tone={tone} title={means}>
      <Icon size={14} stroke={2} aria-hidden />
      {word}
    </span>
  );
}
