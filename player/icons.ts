/** A 24-unit icon as markup; decorative, because the button around it carries the name. */
const icon = (paths: string) => `<svg viewBox="0 0 24 24" aria-hidden="true">${paths}</svg>`;

export const icons = {
  play: icon('<path d="M8 5.3v13.4a.8.8 0 0 0 1.2.7l10.6-6.7a.8.8 0 0 0 0-1.4L9.2 4.6a.8.8 0 0 0-1.2.7z"/>'),
  pause: icon(
    '<rect x="6.5" y="5" width="4" height="14" rx="1"/><rect x="13.5" y="5" width="4" height="14" rx="1"/>',
  ),
  sound: icon(
    '<path d="M4 9.5v5h3.2l4.5 3.8a.5.5 0 0 0 .8-.4V6.100a.5.5 0 0 0-.8-.4L7.2 9.500z"/><path class="line" d="M15.6 9a4.2 4.2 0 0 1 0 6M18 6.500a7.8 7.8 0 0 1 0 11"/>',
  ),
  muted: icon(
    '<path d="M4 9.500v5h3.200l4.5 3.800a.5.5 0 0 0 .8-.4V6.100a.5.5 0 0 0-.8-.4L7.2 9.500z"/><path class="line" d="m16 9.5 5 5m0-5-5 5"/>',
  ),
  stats: icon('<path class="line" d="M5 19v-6M10 19V9M15 19v-8M20 19V5"/>'),
  pip: icon(
    '<rect class="line" x="3" y="5" width="18" height="14" rx="2"/><rect x="12" y="11.5" width="7" height="5.5" rx="1"/>',
  ),
  fullscreen: icon(
    '<path class="line" d="M4 9V5.500A1.5 1.5 0 0 1 5.5 4H9M15 4h3.500A1.5 1.5 0 0 1 20 5.500V9M20 15v3.500a1.5 1.5 0 0 1-1.5 1.500H15M9 20H5.500A1.5 1.5 0 0 1 4 18.500V15"/>',
  ),
  window: icon(
    '<path class="line" d="M9 4v3.500A1.5 1.5 0 0 1 7.5 9H4M20 9h-3.500A1.5 1.5 0 0 1 15 7.500V4M15 20v-3.500a1.5 1.5 0 0 1 1.5-1.500H20M4 15h3.500A1.5 1.5 0 0 1 9 16.500V20"/>',
  ),
  captions: icon(
    '<rect class="line" x="3" y="5" width="18" height="14" rx="2.500"/><path class="line" d="M10.300 10.600a2.100 2.100 0 1 0 0 2.800M17.300 10.600a2.100 2.100 0 1 0 0 2.800"/>',
  ),
  quality: icon(
    '<path class="line" d="M4 7h9M18 7h2M4 17h3M12 17h8"/><circle class="line" cx="15.500" cy="7" r="2.300"/><circle class="line" cx="9.500" cy="17" r="2.300"/>',
  ),
  check: icon('<path class="line" d="m5 12.500 4.500 4.500L19 7.500"/>'),
  wave: icon('<path class="line" d="M3 12h1.500M7 8.500v7M10.5 5v14M14 8v8M17.5 10v4M20.5 12h.5"/>'),
} as const;
